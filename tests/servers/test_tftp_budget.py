"""The bound on what goes to an address that has not answered."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from bootserve.servers.tftp_budget import WORTH, ReplyBudget
from bootserve.servers.tftp_engine import REQUESTS, Outgoing, TftpEngine
from bootserve.servers.tftp_events import Client
from bootserve.wire.tftp_options import Limits
from bootserve.wire.tftp_packets import Ack, Error, OptionAck, Options, Packet, Request
from tests.servers.test_tftp_engine import Bench, run_until

SIZE = 512


def spend(budget: ReplyBudget, address: str, now: float, times: int = 10) -> int:
    return sum(budget.spend(address, SIZE, now) for _ in range(times))


def test_three_datagrams_and_no_more_to_each_address() -> None:
    budget = ReplyBudget()
    assert spend(budget, "192.0.2.1", 0.0) == 3
    assert spend(budget, "192.0.2.1", 14.9) == 0
    assert spend(budget, "192.0.2.2", 14.9) == 3


def test_time_alone_makes_nothing_good() -> None:
    budget = ReplyBudget()
    assert sum(budget.spend("192.0.2.1", SIZE, second) for second in range(86_400)) == 3


def test_a_machine_that_starts_anew_gets_another_chance_after_a_pause_that_doubles() -> None:
    budget = ReplyBudget(pause=15.0, trust=60.0)
    budget.again("192.0.2.1")  # of which nothing is known yet
    assert spend(budget, "192.0.2.1", 0.0) == 3
    budget.again("192.0.2.1")
    assert [spend(budget, "192.0.2.1", now) for now in (14.9, 15.0, 600.0)] == [0, 3, 0]
    budget.again("192.0.2.1")
    assert [spend(budget, "192.0.2.1", now) for now in (600.0, 601.0)] == [3, 0]
    for now in (601.0, 659.9):  # 60 seconds by now, and no more ever
        budget.again("192.0.2.1")
        assert spend(budget, "192.0.2.1", now) == 0
    assert spend(budget, "192.0.2.1", 660.0) == 3
    budget.again("192.0.2.1")
    assert spend(budget, "192.0.2.1", 720.0) == 3


def test_one_that_starts_anew_all_the_time_gets_little_in_an_hour() -> None:
    budget, sent = ReplyBudget(), 0
    for second in range(3600):
        budget.again("192.0.2.1")
        sent += budget.spend("192.0.2.1", SIZE, second)
    assert sent <= 3 * 11


def test_an_answer_makes_good_for_all_the_times_in_vain() -> None:
    budget = ReplyBudget(pause=15.0, trust=60.0)
    spend(budget, "192.0.2.1", 0.0)
    budget.again("192.0.2.1")
    spend(budget, "192.0.2.1", 15.0)
    budget.answered("192.0.2.1", 16.0)
    assert spend(budget, "192.0.2.1", 76.0) == 3
    budget.again("192.0.2.1")
    assert spend(budget, "192.0.2.1", 91.0) == 3


def test_an_address_that_answered_is_trusted_for_a_while() -> None:
    budget = ReplyBudget(trust=600.0)
    spend(budget, "192.0.2.1", 0.0)
    assert budget.answered("192.0.2.1", 1.0)
    assert spend(budget, "192.0.2.1", 600.0, 99) == 99
    assert spend(budget, "192.0.2.1", 601.0) == 3


def test_what_an_address_is_sent_is_taken_from_its_credit() -> None:
    budget = ReplyBudget()
    budget.answered("192.0.2.1", 0.0)
    assert spend(budget, "192.0.2.1", 1.0, 2 * WORTH // SIZE) == WORTH // SIZE + 3
    assert spend(budget, "192.0.2.1", 599.0) == 0
    budget.answered("192.0.2.1", 599.0)
    assert spend(budget, "192.0.2.1", 599.0) == 10


def test_credit_grows_with_the_answers_to_a_bound() -> None:
    budget = ReplyBudget()
    budget.answered("192.0.2.1", 0.0)
    budget.answered("192.0.2.1", 1.0, 2)
    assert budget.pay("192.0.2.1", 3 * WORTH)
    assert not budget.pay("192.0.2.1", 1)
    budget.answered("192.0.2.1", 1.0, 1_000_000)
    assert not budget.pay("192.0.2.1", (64 << 20) + 1)
    assert budget.pay("192.0.2.1", 64 << 20)


def test_a_file_is_lent_while_there_is_credit_for_it_and_for_what_is_lost() -> None:
    budget = ReplyBudget(trust=600.0)
    assert not budget.lend("192.0.2.1", 0, 0.0)
    budget.answered("192.0.2.1", 0.0)
    assert not budget.lend("192.0.2.1", WORTH, 0.0)
    assert [budget.lend("192.0.2.1", 1 << 20, 599.0) for _ in range(3)] == [True, True, False]
    assert budget.pay("192.0.2.1", 1 << 20)
    budget.answered("192.0.2.1", 599.0)
    assert not budget.lend("192.0.2.1", 1, 1199.0)
    assert spend(budget, "192.0.2.1", 1199.0) == 3
    assert budget.pay("192.0.2.1", 1), "a block to be sent again of what began before"


def test_what_was_lent_and_not_sent_is_given_back() -> None:
    budget = ReplyBudget()
    budget.give_back("192.0.2.1", 1 << 20)
    assert not budget.lend("192.0.2.1", 1, 0.0)
    budget.answered("192.0.2.1", 0.0)
    for _ in range(9):
        assert budget.lend("192.0.2.1", 2 << 20, 0.0)
        budget.give_back("192.0.2.1", 2 << 20)
    assert not budget.pay("192.0.2.1", WORTH + 1)


def test_an_answer_says_whether_others_may_have_had_to_wait() -> None:
    budget = ReplyBudget()
    spend(budget, "192.0.2.1", 0.0, 2)
    assert not budget.answered("192.0.2.1", 1.0)
    assert not budget.answered("192.0.2.9", 1.0)


def test_memory_is_bounded_under_a_flood_of_addresses() -> None:
    budget = ReplyBudget(remembered=100)
    for i in range(10_000):
        budget.spend(f"10.0.{i >> 8}.{i & 255}", SIZE, 0.0)
        budget.answered(f"10.1.{i >> 8}.{i & 255}", 0.0)
    assert len(budget) == 200


@pytest.mark.parametrize("again", [False, True])
def test_a_firmware_whose_first_replies_were_lost_boots_once_its_machine_starts_anew(
    again: bool,
) -> None:
    """It asks from a port of its own in each try; only the DHCP server sees that it starts."""
    bench = Bench()
    asked = Request("ipxe.efi", options=(("blksize", "1468"), ("windowsize", "4")))
    lost = 0
    for start in (0.0, 60.0):
        for second in (0.0, 4.0, 12.0, 28.0):
            lost += len(bench.send(asked, ("192.0.2.7", 2000 + int(start)), start + second))
            lost += len(run_until(bench, start + second))
    lost += len(run_until(bench, 120.0))
    assert lost == 3
    if again:
        bench.engine.again("192.0.2.7")
    assert len(bench.send(asked, ("192.0.2.7", 2120), 120.0)) == again


def test_a_size_probe_is_an_answer() -> None:
    """What OVMF asks for next may be lost four times, and comes all the same."""
    bench = Bench()
    probe = Request("ipxe.efi", options=(("tsize", "0"), ("blksize", "1468")))
    assert bench.send(probe) != []
    assert bench.send(Error(8, "User aborted the transfer"), now=0.1) == []
    second = Request("ipxe.efi", options=(("blksize", "1468"),))
    for now in (1.0, 5.0, 13.0, 29.0, 61.0):
        assert bench.send(second, ("192.0.2.7", 2071), now) == [OptionAck((("blksize", "1468"),))]
    assert len(bench.send(Ack(0), ("192.0.2.7", 2071), now=61.1)) == 1


def on_the_wire(data: bytes | memoryview) -> int:
    """Return the bytes that a datagram takes of an Ethernet, with all that is around it."""
    return 8 + max(60, 14 + 20 + 8 + len(data)) + 4 + 12


PORTS = 28_232
"""Those of which Linux draws, unless it is told otherwise (ip(7), ip_local_port_range)."""
GREEDY: Options = (("blksize", "1468"), ("windowsize", "64"))
NBP = bytes(1_000_000)
BLOCKS = len(NBP) // 1468 + 1
EVERY_WINDOW = [*range(0, BLOCKS, 64), BLOCKS]


class Forger:
    """He asks in the name of others, sees nothing of what they are sent, and answers by guess.

    ``spent`` are the bytes that he sends, and ``brought`` those that his victims get, on the wire.
    """

    def __init__(self) -> None:
        self.random = random.Random(1)
        self.engine = TftpEngine(
            lookup={"nbp": NBP, "small": NBP[:70_000]}.__getitem__,
            on_event=lambda _: None,
            limits=Limits(),
        )
        self.spent = self.brought = 0

    def ask(self, name: str, client: Client, now: float, options: Options = GREEDY) -> None:
        data = Request(name, options=options).to_bytes()
        self.spent += on_the_wire(data)
        self.count(self.engine.receive(data, client, REQUESTS, now))

    def guess(self, packet: Packet, client: Client, guesses: int, now: float) -> None:
        """Send ``packet`` to as many ports, and not to one twice."""
        data = packet.to_bytes()
        self.spent += guesses * on_the_wire(data)
        if self.random.random() < guesses / PORTS:
            self.count(self.engine.receive(data, client, self.engine.port(client), now))

    def acknowledge(self, block: int, client: Client, now: float) -> None:
        """Send an acknowledgement to the port that all know."""
        data = Ack(block).to_bytes()
        self.spent += on_the_wire(data)
        self.count(self.engine.receive(data, client, REQUESTS, now))

    def wait(self, until: float) -> None:
        while (when := self.engine.timer()) is not None and when < until:
            self.count(self.engine.handle_timer(when))

    def count(self, out: Sequence[Outgoing]) -> None:
        self.brought += sum(on_the_wire(datagram) for datagram, *_ in out)


def victims(count: int) -> list[Client]:
    return [(f"10.0.{number >> 8}.{number & 255}", 2000) for number in range(count)]


@pytest.mark.parametrize("packet", [Ack(0), Error(8, "stop")])
@pytest.mark.parametrize("guesses", [2000, PORTS])
def test_a_forger_who_answers_too_gains_little_by_guessing(packet: Packet, guesses: int) -> None:
    """Where a guess was right he has all that the credit brings, from the port that all know: with
    no secret he would bring 36 times what he sends, and more."""
    forger = Forger()
    probe: Options = (*GREEDY, ("tsize", "0"))
    for number, client in enumerate(victims(300)):
        now = 1000.0 * number
        forger.ask("nbp", client, now, probe)
        forger.guess(packet, client, guesses, now)
        forger.wait(now + 100.0)
        for _ in range(4):
            forger.ask("nbp", client, now + 100.0)
            for block in EVERY_WINDOW:
                forger.acknowledge(block, client, now + 100.0)
    assert 0.2 * forger.spent < forger.brought < 1.7 * forger.spent


def with_credit() -> tuple[Forger, Client]:
    """A forger whose guess was right, and his victim; what that cost is not counted."""
    forger, (client,) = Forger(), victims(1)
    forger.ask("nbp", client, 0.0)
    forger.guess(Ack(0), client, PORTS, 0.0)
    forger.wait(100.0)
    forger.brought = 0
    return forger, client


def test_a_forger_gains_little_by_having_windows_sent_again() -> None:
    """Each acknowledgement within a window says that the block after it was lost (RFC 7440), and
    silence says the same: he has a credit to use up, however he came by it."""
    forger, client = with_credit()
    for attack in range(50):
        now = 100.0 + attack
        forger.ask("small", client, now)
        for block in range(47):
            now += 0.02
            forger.acknowledge(block, client, now)
    forger.wait(599.0)
    assert WORTH / 2 < forger.brought < 1.2 * WORTH


def test_a_forger_gains_little_by_having_a_transfer_begin_again() -> None:
    """The same request once more, after a silence, is a node that was reset."""
    forger, client = with_credit()
    for second in range(200):
        forger.ask("nbp", client, 100.0 + 2 * second)
        forger.acknowledge(0, client, 100.1 + 2 * second)
    assert WORTH / 2 < forger.brought < 1.2 * WORTH


def test_a_forger_who_does_not_answer_brings_three_datagrams_to_each() -> None:
    forger = Forger()
    for number, client in enumerate(victims(1024)):
        for _ in range(4):
            forger.ask("nbp", client, 100.0 * number)
        forger.wait(100.0 * number + 99.0)
    assert forger.brought == 3 * 1024 * on_the_wire(OptionAck(GREEDY).to_bytes())
