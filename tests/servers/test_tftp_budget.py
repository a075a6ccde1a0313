"""The bound on what goes to an address that has not answered."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from bootserve.servers.tftp import TRANSFER_PORTS
from bootserve.servers.tftp_budget import ReplyBudget
from bootserve.servers.tftp_engine import REQUESTS, Outgoing, TftpEngine
from bootserve.servers.tftp_events import Client
from bootserve.wire.tftp_options import Limits
from bootserve.wire.tftp_packets import Ack, Error, OptionAck, Options, Packet, Request
from tests.servers.test_tftp_engine import Bench, run_until


def spend(budget: ReplyBudget, address: str, now: float, times: int = 10) -> int:
    return sum(budget.spend(address, now) for _ in range(times))


def test_three_datagrams_and_no_more_to_each_address() -> None:
    budget = ReplyBudget()
    assert spend(budget, "192.0.2.1", 0.0) == 3
    assert spend(budget, "192.0.2.1", 14.9) == 0
    assert spend(budget, "192.0.2.2", 14.9) == 3


def test_time_alone_makes_nothing_good() -> None:
    budget = ReplyBudget()
    assert sum(budget.spend("192.0.2.1", second) for second in range(86_400)) == 3


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
        sent += budget.spend("192.0.2.1", second)
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


def test_one_that_fetched_two_files_to_their_ends_is_proven_as_long_as_it_is_trusted() -> None:
    budget = ReplyBudget(trust=600.0)
    budget.answered("192.0.2.1", 0.0)
    budget.completed("192.0.2.1", 0.5)
    assert not budget.is_proven("192.0.2.1", 0.5)
    budget.completed("192.0.2.1", 1.0)
    budget.answered("192.0.2.1", 300.0)
    assert budget.is_proven("192.0.2.1", 899.0)
    assert not budget.is_proven("192.0.2.1", 900.0)
    budget.answered("192.0.2.1", 901.0)
    assert not budget.is_proven("192.0.2.1", 901.0)


@pytest.mark.parametrize("known", [False, True])
def test_an_address_in_whose_name_answers_are_forged_gets_nothing_until_it_starts_anew(
    known: bool,
) -> None:
    budget = ReplyBudget(pause=15.0, trust=600.0)
    if known:
        budget.completed("192.0.2.1", 0.0)
        budget.completed("192.0.2.1", 0.0)
        assert budget.is_proven("192.0.2.1", 0.0)
    budget.forged("192.0.2.1", 1.0)
    assert not budget.is_proven("192.0.2.1", 1.0)
    assert spend(budget, "192.0.2.1", 599.0) == 0
    budget.again("192.0.2.1")
    assert spend(budget, "192.0.2.1", 599.0) == 3


def test_an_answer_says_whether_others_may_have_had_to_wait() -> None:
    budget = ReplyBudget()
    spend(budget, "192.0.2.1", 0.0, 2)
    assert not budget.answered("192.0.2.1", 1.0)
    assert not budget.answered("192.0.2.9", 1.0)


def test_memory_is_bounded_under_a_flood_of_addresses() -> None:
    budget = ReplyBudget(remembered=100)
    for i in range(10_000):
        budget.spend(f"10.0.{i >> 8}.{i & 255}", 0.0)
        budget.answered(f"10.1.{i >> 8}.{i & 255}", 0.0)
        budget.forged(f"10.2.{i >> 8}.{i & 255}", 0.0)
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
    greeted = bench.send(asked, ("192.0.2.7", 2120), 120.0)
    assert (greeted != []) is again
    assert (bench.send(Ack(0), ("192.0.2.7", 2120), 120.1) != []) is True


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


class Forger:
    """He asks in the name of others, sees nothing of what they are sent, and answers by guess.

    ``spent`` are the bytes that he sends, and ``brought`` those that his victims get, on the wire.
    """

    def __init__(self) -> None:
        self.drawn, self.guessed = random.Random(1), random.Random(2)
        self.engine = TftpEngine(
            lookup={"nbp": bytes(1_000_000), "small": b"x"}.__getitem__,
            on_event=lambda _: None,
            limits=Limits(),
            ports=TRANSFER_PORTS,
            draw=self.drawn.randrange,
        )
        self.spent = self.brought = 0

    def send(self, packet: Packet, client: Client, port: int, now: float) -> None:
        data = packet.to_bytes()
        self.spent += on_the_wire(data)
        self.count(self.engine.receive(data, client, port, now))

    def count(self, out: Sequence[Outgoing]) -> None:
        self.brought += sum(on_the_wire(datagram) for datagram, *_ in out)

    def attack(
        self, client: Client, now: float, name: str, acks: Sequence[int], port: int | None = None
    ) -> None:
        """Ask for the file, and acknowledge these blocks to ``port`` or to one that is guessed."""
        port = self.guessed.randint(1, TRANSFER_PORTS) if port is None else port
        self.send(Request(name, options=GREEDY), client, REQUESTS, now)
        for block in acks:
            self.send(Ack(block), client, port, now)


GREEDY: Options = (("blksize", "1468"), ("windowsize", "64"))
BLOCKS = 1_000_000 // 1468 + 1


def victims(count: int) -> list[Client]:
    return [(f"10.0.{number >> 8}.{number & 255}", 2000) for number in range(count)]


def test_a_forger_who_answers_too_gains_little_by_guessing() -> None:
    """Of a megabyte for each; with one port for all he would bring 36 times what he sends."""
    forger = Forger()
    for client in victims(1024):
        for _ in range(2):
            forger.attack(client, 0.0, "nbp", range(0, BLOCKS + 1, 2))
    assert forger.brought < 1.5 * forger.spent


def test_a_forger_gains_little_by_those_of_whom_his_guesses_made_a_proof() -> None:
    """He completes two small transfers and then has all windows, where each guess was right."""
    forger = Forger()
    for client in victims(16_000):
        for _ in range(2):
            forger.attack(client, 0.0, "small", [0, 1])
        for _ in range(4):
            forger.attack(client, 0.0, "nbp", range(0, BLOCKS + 1, 64), REQUESTS)
    assert forger.brought < 1.5 * forger.spent


def test_a_forger_who_answers_once_gains_little_by_what_is_sent_again() -> None:
    forger = Forger()
    for number, client in enumerate(victims(1024)):
        forger.attack(client, 100.0 * number, "nbp", [0])
        while (when := forger.engine.timer()) is not None:
            forger.count(forger.engine.handle_timer(when))
    assert forger.brought < 5 * forger.spent
