"""The sending state machine, step by step."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.wire.tftp_blocks import Datagram, ReadyBlocks
from bootserve.wire.tftp_options import Terms
from bootserve.wire.tftp_packets import Ack, Data, Error, OptionAck, Request, parse
from bootserve.wire.tftp_transfer import ReadTransfer, TransferState


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def blocks(datagrams: Iterable[Datagram]) -> list[int]:
    """Return the block numbers of ``datagrams``, which must be DATA."""
    numbers = []
    for datagram in datagrams:
        packet = parse(bytes(datagram))
        assert isinstance(packet, Data)
        numbers.append(packet.block)
    return numbers


def windowed(count: int, windowsize: int, blksize: int = 8) -> ReadTransfer:
    """Return a transfer of ``count`` blocks of which the OACK is acknowledged, at time 1."""
    terms = Terms(blksize, windowsize, (("windowsize", str(windowsize)),))
    transfer = ReadTransfer(content_of(blksize * count - 1), terms, 0.0)
    transfer.start(0.0)
    sent = transfer.acknowledge(0, 1.0)
    assert blocks(sent) == list(range(1, min(windowsize, count) + 1))
    return transfer


def read_all(transfer: ReadTransfer) -> bytes:
    """Return what a client without losses receives, and leave the transfer ended."""
    now, received = 0.0, b""
    replies: Sequence[Datagram] = transfer.start(now)
    while replies:
        now += 0.001
        packet = parse(bytes(replies[-1]))
        payloads = [p.payload for p in map(parse, map(bytes, replies)) if isinstance(p, Data)]
        received += b"".join(payloads)
        replies = transfer.acknowledge(packet.block if isinstance(packet, Data) else 0, now)
    return received


@pytest.mark.parametrize("windowsize", [1, 4, 64])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024, 512 * 64, 512 * 65 + 1])
def test_every_size_arrives_and_the_last_block_is_short(size: int, windowsize: int) -> None:
    content = content_of(size)
    transfer = ReadTransfer(
        content, Terms(512, windowsize, (("windowsize", str(windowsize)),)), 0.0
    )
    assert read_all(transfer) == content
    assert transfer.state is TransferState.COMPLETED
    assert transfer.bytes_acknowledged == size


def test_rfc1350_an_empty_file_is_one_empty_block() -> None:
    transfer = ReadTransfer(b"", Terms(), 0.0)
    assert transfer.start(0.0) == [b"\0\3\0\1"]
    assert transfer.acknowledge(1, 0.1) == ()
    assert transfer.state is TransferState.COMPLETED


def test_rfc1350_a_multiple_of_the_block_size_ends_with_an_empty_block() -> None:
    transfer = ReadTransfer(bytes(1024), Terms(), 0.0)
    transfer.start(0.0)
    transfer.acknowledge(1, 0.1)
    assert transfer.acknowledge(2, 0.2) == [b"\0\3\0\3"]


@pytest.mark.parametrize("windowsize", [1, 5, 64])
def test_the_block_number_after_65535_is_0(windowsize: int) -> None:
    content = content_of(8 * 70_000 + 3)
    transfer = ReadTransfer(content, Terms(8, windowsize, (("windowsize", str(windowsize)),)), 0.0)
    assert read_all(transfer) == content
    assert transfer.state is TransferState.COMPLETED


def test_rfc2347_the_oack_comes_first_and_is_acknowledged_with_0() -> None:
    transfer = ReadTransfer(bytes(20), Terms(8, 1, (("blksize", "8"),)), 0.0)
    assert transfer.start(0.0) == (b"\0\6blksize\x008\0",)
    assert transfer.acknowledge(1, 0.1) == ()
    assert not transfer.answered
    assert blocks(transfer.acknowledge(0, 0.2)) == [1]
    assert transfer.answered


def test_rfc1123_a_duplicate_ack_is_not_answered_with_data() -> None:
    transfer = windowed(count=10, windowsize=1)
    assert blocks(transfer.acknowledge(1, 2.0)) == [2]
    assert transfer.acknowledge(1, 2.5) == ()
    assert transfer.acknowledge(0, 2.6) == ()
    assert blocks(transfer.acknowledge(2, 2.7)) == [3]


def test_an_ack_of_a_block_not_yet_sent_is_ignored() -> None:
    transfer = windowed(count=20, windowsize=4)
    assert transfer.acknowledge(5, 2.0) == ()
    assert transfer.acknowledge(65535, 2.0) == ()
    assert blocks(transfer.acknowledge(4, 2.0)) == [5, 6, 7, 8]


def test_rfc7440_an_ack_inside_the_window_rolls_back_to_the_block_after_it() -> None:
    transfer = windowed(count=20, windowsize=4)
    assert blocks(transfer.acknowledge(2, 2.0)) == [3, 4, 5, 6]
    assert blocks(transfer.acknowledge(6, 3.0)) == [7, 8, 9, 10]


def test_rfc7440_the_first_block_of_a_window_lost_is_sent_again_at_once_and_once() -> None:
    transfer = windowed(count=20, windowsize=4)
    assert blocks(transfer.acknowledge(4, 2.0)) == [5, 6, 7, 8]
    assert blocks(transfer.acknowledge(4, 3.0)) == [5, 6, 7, 8]
    assert transfer.acknowledge(4, 4.0) == ()


def test_complaints_about_an_earlier_copy_of_the_window_do_not_start_it_again() -> None:
    transfer = windowed(count=20, windowsize=4)
    assert blocks(transfer.acknowledge(1, 2.0)) == [2, 3, 4, 5]
    assert blocks(transfer.acknowledge(2, 2.5)) == [6]
    assert blocks(transfer.acknowledge(4, 2.6)) == [7, 8]
    assert blocks(transfer.acknowledge(4, 3.1)) == [5, 6, 7, 8]


def test_a_copy_of_an_ack_from_the_network_does_not_double_the_window() -> None:
    transfer = windowed(count=20, windowsize=4)
    assert blocks(transfer.acknowledge(4, 2.0)) == [5, 6, 7, 8]
    assert transfer.acknowledge(4, 2.0) == ()
    assert transfer.acknowledge(4, 2.5) == ()


def test_rfc7440_a_short_last_window_is_acknowledged_by_its_last_block() -> None:
    transfer = windowed(count=6, windowsize=4)
    assert blocks(transfer.acknowledge(4, 2.0)) == [5, 6]
    assert transfer.acknowledge(6, 3.0) == ()
    assert transfer.state is TransferState.COMPLETED


def run_timers(transfer: ReadTransfer) -> list[tuple[float, Sequence[Datagram]]]:
    """Run the timers until the transfer has failed; return what was sent, and when."""
    sent = []
    while not transfer.finished:
        now = transfer.deadline
        assert transfer.handle_timer(now - 0.001) == ()
        replies = transfer.handle_timer(now)
        if replies:
            sent.append((now, replies))
    return sent


def test_a_silent_client_gets_the_first_reply_three_times() -> None:
    transfer = ReadTransfer(bytes(5000), Terms(), 0.0)
    first = transfer.start(0.0)
    assert run_timers(transfer) == [(1.0, first), (3.0, first)]
    assert transfer.detail == "the client never answered"


def test_retransmission_backs_off_and_gives_up_after_30_seconds() -> None:
    transfer = windowed(count=20, windowsize=4)
    sent = run_timers(transfer)
    assert [now - 1.0 for now, _ in sent] == [1.0, 3.0, 7.0, 15.0, 23.0]
    assert all(blocks(replies) == [1, 2, 3, 4] for _, replies in sent)
    assert transfer.detail == "the client fell silent"
    assert transfer.deadline == 31.0


def test_the_last_acknowledgement_lost_is_said() -> None:
    transfer = windowed(count=4, windowsize=4)
    run_timers(transfer)
    assert transfer.detail == "the last block was never acknowledged"


def test_in_lock_step_a_lost_block_is_sent_every_other_second_at_least() -> None:
    transfer = windowed(count=20, windowsize=1)
    sent = [now - 1.0 for now, _ in run_timers(transfer)]
    assert sent == [float(second) for second in range(1, 30, 2)]
    assert transfer.detail == "the client fell silent"


def test_on_a_quick_link_a_lost_block_is_sent_again_after_a_fifth_of_a_second() -> None:
    transfer = ReadTransfer(bytes(100), Terms(8, 1, (("blksize", "8"),)), 0.0)
    transfer.start(0.0)
    transfer.acknowledge(0, 0.001)
    assert transfer.deadline == 0.201
    assert blocks(transfer.handle_timer(0.201)) == [1]


def test_progress_resets_the_backoff() -> None:
    transfer = windowed(count=20, windowsize=1)
    transfer.handle_timer(2.0)
    transfer.handle_timer(4.0)
    transfer.acknowledge(1, 5.0)
    assert transfer.deadline == 6.0


def test_an_error_ends_it_and_is_never_answered() -> None:
    transfer = windowed(count=20, windowsize=4)
    assert transfer.receive(Error(3, "disk full"), 2.0) == ()
    assert transfer.state is TransferState.FAILED
    assert transfer.detail == "the client ended it: error 3, disk full"
    assert not transfer.probed
    assert transfer.acknowledge(4, 2.1) == ()
    assert transfer.handle_timer(99.0) == ()
    assert transfer.request_again(99.0) == ()


def test_the_size_probe_of_edk2_is_known_for_one() -> None:
    transfer = ReadTransfer(bytes(100), Terms(granted=(("tsize", "100"),)), 0.0)
    transfer.start(0.0)
    assert transfer.receive(Error(8, "User aborted the transfer"), 0.1) == ()
    assert transfer.probed


def test_packets_that_no_client_sends_are_ignored() -> None:
    transfer = windowed(count=20, windowsize=4)
    for packet in (Data(1, b""), OptionAck(()), Request("f")):
        assert transfer.receive(packet, 2.0) == ()
    assert blocks(transfer.receive(Ack(4), 2.0)) == [5, 6, 7, 8]


def test_a_request_repeated_before_the_first_answer_gets_the_first_reply_again() -> None:
    transfer = ReadTransfer(bytes(100), Terms(8, 1, (("blksize", "8"),)), 0.0)
    assert transfer.request_again(0.5) == transfer.start(0.0)
    assert blocks(transfer.acknowledge(0, 0.6)) == [1]


def test_a_copy_of_the_request_that_comes_at_once_gets_no_second_reply() -> None:
    transfer = ReadTransfer(bytes(100), Terms(8, 1, (("blksize", "8"),)), 0.0)
    transfer.start(0.0)
    assert transfer.request_again(0.05) == ()
    assert transfer.deadline == 1.0
    assert len(transfer.request_again(0.15)) == 1


def test_a_late_copy_of_the_request_does_not_disturb_a_running_transfer() -> None:
    transfer = windowed(count=20, windowsize=4)
    assert transfer.request_again(1.5) == ()
    assert blocks(transfer.acknowledge(4, 2.0)) == [5, 6, 7, 8]


def test_a_node_that_was_reset_starts_over_on_the_same_port() -> None:
    transfer = windowed(count=20, windowsize=4)
    transfer.acknowledge(4, 2.0)
    assert [type(parse(bytes(reply))) for reply in transfer.request_again(9.0)] == [OptionAck]
    assert transfer.acknowledge(8, 9.1) == ()
    assert blocks(transfer.acknowledge(0, 9.2)) == [1, 2, 3, 4]


def state_of(transfer: ReadTransfer) -> dict[str, object]:
    """Return all that it knows, once what was sent on the quick way is noted."""
    assert transfer.bytes_acknowledged >= 0
    names = [name for name in ReadTransfer.__slots__ if name not in ("blocks", "window")]
    return {name: getattr(transfer, name) for name in names}


def take_the_quick_way(transfer: ReadTransfer, block: int, now: float) -> Sequence[Datagram]:
    """Take an ACK as a server does that knows the quick way."""
    if transfer.window.ack != Ack(block).to_bytes():
        return transfer.acknowledge(block, now)
    window = transfer.next_window(now)
    step = window.segment or len(window.run)
    return [window.run[at : at + step] for at in range(0, len(window.run), step)]


@given(
    st.integers(0, 70_000 * 8),
    st.sampled_from([1, 2, 4, 64]),
    st.lists(
        st.tuples(
            st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3, 64, 65535, "timer", "request", "error"]),
            st.sampled_from([0.0, 0.0004, 0.001, 0.6, 2.0, 31.0]),
        ),
        max_size=80,
    ),
)
def test_the_quick_way_does_what_acknowledge_does(
    size: int, windowsize: int, steps: list[tuple[int | str, float]]
) -> None:
    terms = Terms(8, windowsize, (("windowsize", str(windowsize)),))
    plain, quick = (ReadTransfer(bytes(size), terms, 0.0) for _ in range(2))
    quick.use(ReadyBlocks(bytes(size), 8, windowsize))
    now = 0.0
    expected = 0
    for what, wait in steps:
        now += wait
        if what == "timer":
            sent, other = plain.handle_timer(now), quick.handle_timer(now)
        elif what == "request":
            sent, other = plain.request_again(now), quick.request_again(now)
        elif what == "error":
            sent, other = (one.receive(Error(0, "x"), now) for one in (plain, quick))
        else:
            assert isinstance(what, int)
            block = (expected - what) & 0xFFFF
            sent = plain.acknowledge(block, now)
            other = take_the_quick_way(quick, block, now)
        assert list(map(bytes, sent)) == list(map(bytes, other))
        assert state_of(plain) == state_of(quick)
        if sent:
            last = parse(bytes(sent[-1]))
            expected = last.block if isinstance(last, Data) else 0
