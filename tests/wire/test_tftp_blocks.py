"""Files cut into DATA packets, made on demand and laid out beforehand: the same packets."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.servers.mmsg import message
from bootserve.wire.tftp_blocks import NO_WINDOW, Blocks, ReadyBlocks
from bootserve.wire.tftp_packets import Ack, Data


@given(st.binary(max_size=200), st.integers(8, 60))
def test_the_packets_are_the_files_blocks_in_order(content: bytes, blksize: int) -> None:
    blocks = Blocks(content, blksize)
    packets = blocks.packets(1, blocks.count)
    cut = [content[i : i + blksize] for i in range(0, len(content) + 1, blksize)]
    assert packets == [Data(i + 1, payload).to_bytes() for i, payload in enumerate(cut)]
    assert len(cut[-1]) < blksize


@given(st.binary(max_size=200), st.integers(8, 60), st.data())
def test_ready_packets_are_the_same_as_those_made_on_demand(
    content: bytes, blksize: int, data: st.DataObject
) -> None:
    made, ready = Blocks(content, blksize), ReadyBlocks(content, blksize)
    first = data.draw(st.integers(1, made.count))
    last = data.draw(st.integers(first, made.count))
    assert ready.count == made.count
    assert list(ready.packets(first, last)) == list(made.packets(first, last))


@pytest.mark.parametrize("kind", [Blocks, ReadyBlocks])
def test_the_number_wraps_to_0(kind: type[Blocks]) -> None:
    blocks = kind(bytes(8 * 65537), 8)
    headers = [bytes(packet[:4]) for packet in blocks.packets(65535, 65538)]
    assert headers == [b"\0\3\xff\xff", b"\0\3\0\0", b"\0\3\0\1", b"\0\3\0\2"]


@given(st.binary(max_size=200), st.integers(8, 60), st.integers(1, 5))
def test_windows_lead_from_one_to_the_next_through_the_file(
    content: bytes, blksize: int, windowsize: int
) -> None:
    ready = ReadyBlocks(content, blksize, windowsize, lambda all_of_it, at, n: all_of_it[at:][:n])
    window, acked = ready.window(0), 0
    while acked < ready.count:
        last = min(acked + windowsize, ready.count)
        assert ready.window(acked) is window
        assert (window.first, window.last) == (acked + 1, last)
        assert window.message == b"".join(ready.packets(acked + 1, last))
        assert window.run == window.message
        assert window.segment == (ready.stride if last > acked + 1 else 0)
        if last < ready.count:
            assert window.ack == Ack(last & 0xFFFF).to_bytes()
            assert window.awaited == int.from_bytes(window.ack, "big")
        else:
            assert (window.ack, window.awaited) == (None, -1)
        window, acked = window.next, last


def test_no_window_begins_within_another_or_behind_the_file() -> None:
    ready = ReadyBlocks(bytes(100), 10, 4)
    begins = [acked for acked in range(12) if ready.window(acked) is not NO_WINDOW]
    assert begins == [0, 4, 8]
    assert Blocks(bytes(100), 10).window(0) is NO_WINDOW


def test_the_memory_that_it_takes_is_told() -> None:
    tracemalloc.start()
    try:
        ready = ReadyBlocks(bytes(100_000), 512, 1, message)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.8 * taken < ready.size + 100_000 < 1.2 * taken  # the content counts, too
