"""A node that gets nowhere waits, longer each time, until it reports or is released."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.jitter import jittered
from bootserve.core.loops import LONGEST_PAUSE, LoopGuard, LoopLimits, Waiting
from bootserve.core.offers import Ignored, OfferSettings, OfferTarget, Reply, decide
from bootserve.wire.dhcp import DhcpPacket
from bootserve.wire.pxe import ClientArch
from tests.support.states import MAC

OTHER = "52:54:00:00:00:02"
LIMITS = LoopLimits(scripts=3, nbps=2, window=60.0)
SETTINGS = OfferSettings("10.0.0.1", "http://10.0.0.1:8080", {ClientArch.EFI_X64: "ipxe.efi"})
SCRIPT_REASON = "its script was fetched 3 times within 1 minute and no report came"


def looping(now: float = 100.0) -> LoopGuard:
    guard = LoopGuard(LIMITS)
    for number in range(3):
        assert guard.script(MAC, now + number) is None
        guard.served(MAC, now + number)
    return guard


def test_scripts_without_a_report_end_in_a_wait_and_others_are_not_held_up() -> None:
    guard = looping()
    waiting = guard.script(MAC, 103.0)
    assert waiting == Waiting(SCRIPT_REASON, jittered(30, MAC), new=True)
    assert guard.script(MAC, 105.0) == Waiting(SCRIPT_REASON, jittered(30, MAC) - 2.0)
    assert guard.waiting([OTHER, MAC], 105.0) == guard.script(MAC, 105.0)
    assert guard.script(OTHER, 105.0) is None


def test_pauses_grow_to_a_bound_with_one_attempt_in_between() -> None:
    guard, now, pauses = looping(), 103.0, []
    for _ in range(8):
        waiting = guard.script(MAC, now)
        assert waiting is not None
        assert waiting.new
        pauses.append(waiting.seconds)
        now += waiting.seconds
        assert guard.script(MAC, now) is None
        guard.served(MAC, now)
        now += 10.0
    wanted = [30, 60, 120, 240, 480, 900, 900, 900]
    assert pauses == [jittered(seconds, MAC) for seconds in wanted]
    assert max(wanted) == LONGEST_PAUSE


def test_scripts_that_are_far_enough_apart_are_no_loop() -> None:
    guard = LoopGuard(LIMITS)
    for number in range(20):
        assert guard.script(MAC, 100.0 + 21 * number) is None
        guard.served(MAC, 100.0 + 21 * number)


def test_a_node_that_left_its_loop_alone_for_long_begins_anew() -> None:
    guard = looping()
    first = guard.script(MAC, 103.0)
    assert first is not None
    later = 103.0 + first.seconds + LIMITS.window
    for number in range(3):
        assert guard.script(MAC, later + number) is None
        guard.served(MAC, later + number)
    again = guard.script(MAC, later + 3)
    assert again is not None
    assert again.seconds == first.seconds


def test_a_report_or_an_admin_releases_it() -> None:
    guard = looping()
    assert guard.script(MAC, 103.0) is not None
    assert guard.release(MAC)
    assert not guard.release(MAC)
    assert guard.script(MAC, 103.0) is None
    assert guard.waiting([MAC], 103.0) is None


def test_what_is_no_node_any_more_is_forgotten() -> None:
    guard = looping()
    guard.forget_all_but({OTHER})
    assert len(guard) == 0


def packet(kind: int, mac: str = MAC, *, ipxe: bool = False, port: int = 67) -> Reply | Ignored:
    options = {53: bytes((kind,)), 60: b"PXEClient:Arch:00007", 93: b"\0\7", 97: bytes(17)}
    if ipxe:
        options |= {77: b"iPXE", 175: b"\x13\1\1"}
    asked = DhcpPacket(op=1, xid=7, chaddr=bytes.fromhex(mac.replace(":", "")), options=options)
    return decide(
        asked, port=port, settings=SETTINGS, lookup=lambda m: OfferTarget("n1" if m == MAC else "")
    )


def load_nbp(guard: LoopGuard, now: float, mac: str = MAC) -> bool:
    """A firmware's exchange, with repeated messages; whether it got an NBP."""
    offer, _ = guard.watch(packet(1, mac), now, accepted=False)
    again, _ = guard.watch(packet(1, mac), now + 1, accepted=False)
    assert type(again) is type(offer)
    for first in (True, False):
        guard.watch(packet(3, mac), now + 2, accepted=first)
    return isinstance(offer, Reply)


def test_a_chainload_loop_is_offered_nothing_for_a_while() -> None:
    guard = LoopGuard(LIMITS)
    assert load_nbp(guard, 100.0)
    assert load_nbp(guard, 110.0)
    outcome, waiting = guard.watch(packet(1), 120.0, accepted=False)
    assert isinstance(outcome, Ignored)
    assert (outcome.node, waiting and waiting.new) == ("n1", True)
    assert outcome.reason.startswith("it loaded its NBP 2 times within 1 minute and never asked")
    assert outcome.reason.endswith(f"no NBP is offered for {jittered(30, MAC)} s")
    assert guard.watch(packet(1, ipxe=True), 121.0, accepted=False)[1] is None
    assert guard.waiting([MAC], 121.0, scripts_only=True) is None
    assert guard.script(MAC, 121.0) is None
    after = 120.0 + jittered(30, MAC)
    assert load_nbp(guard, after)
    assert not load_nbp(guard, after + 5)


def test_a_script_that_is_asked_for_ends_a_chainload_loop() -> None:
    guard = LoopGuard(LIMITS)
    for number in range(10):
        assert load_nbp(guard, 100.0 + number)
        guard.reached(MAC)


@pytest.mark.parametrize("kinds", [[1] * 20, [3] * 20])
def test_offers_that_nobody_accepts_are_no_loop(kinds: list[int]) -> None:
    guard = LoopGuard(LIMITS)
    for number, kind in enumerate(kinds):
        assert guard.watch(packet(kind), 100.0 + number, accepted=False)[1] is None
    assert guard.waiting([MAC], 120.0) is None


def test_who_waits_already_is_known_without_being_counted() -> None:
    guard = LoopGuard(LIMITS)
    assert guard.held(MAC, 100.0) == ""
    for now in (100.0, 110.0):
        load_nbp(guard, now)
    assert guard.held(MAC, 120.0) == ""
    outcome, waiting = guard.watch(packet(1), 120.0, accepted=False)
    assert isinstance(outcome, Ignored)
    assert waiting is not None
    assert guard.held(MAC, 120.0) == outcome.reason
    assert guard.held(MAC, 120.0 + waiting.seconds) == ""


@given(
    st.lists(st.floats(0.0, 120.0), min_size=1, max_size=300),
    st.integers(1, 5),
    st.floats(20.0, 600.0),
)
def test_however_it_asks_a_node_gets_few_boots_in_any_window(
    gaps: list[float], limit: int, window: float
) -> None:
    guard, now = LoopGuard(LoopLimits(scripts=limit, window=window)), 0.0
    minted: list[float] = []
    waits: list[float] = []
    for gap in gaps:
        now += gap
        waiting = guard.script(MAC, now)
        if waiting is None:
            guard.served(MAC, now)
            minted.append(now)
        elif waiting.new:
            waits.append(waiting.seconds)
            assert LONGEST_PAUSE * 1.25 >= waiting.seconds >= jittered(30, MAC)
    for start in minted:
        within = [at for at in minted if start <= at < start + window]
        # as many as are allowed, and one attempt after each wait, the shortest of which is known
        assert len(within) <= limit + 1 + window / jittered(30, MAC)


def offered_while_held(options: dict[int, bytes]) -> Reply | Ignored:
    asked = DhcpPacket(
        op=1,
        xid=7,
        chaddr=bytes.fromhex(MAC.replace(":", "")),
        options={53: b"\1", 60: b"PXEClient:Arch:00007", 93: b"\0\7", 97: bytes(17)} | options,
    )
    target = OfferTarget("n1", held="it is in a loop")
    return decide(asked, port=67, settings=SETTINGS, lookup=lambda _: target)


def test_an_ipxe_whose_user_class_got_lost_is_offered_a_script_that_waits() -> None:
    outcome = offered_while_held({175: b"\x13\1\1"})
    assert isinstance(outcome, Reply)
    assert outcome.kind == "offer script"
    assert (
        f"http://10.0.0.1:8080/boot/{MAC.replace(':', '-')}.ipxe?waits=1".encode() in outcome.data
    )


@pytest.mark.parametrize("options", [{}, {175: b"\x15\1\1"}])
def test_what_runs_no_script_or_has_no_http_is_offered_nothing(options: dict[int, bytes]) -> None:
    outcome = offered_while_held(options)
    assert isinstance(outcome, Ignored)
    assert outcome.reason == "it is in a loop"


def test_who_loads_its_nbp_again_and_again_waits_until_it_asks_for_a_script() -> None:
    guard = LoopGuard(LIMITS)
    for now in (100.0, 110.0):
        load_nbp(guard, now)
    assert guard.loading(MAC, 120.0) is None
    guard.watch(packet(1), 120.0, accepted=False)
    waiting = guard.loading(MAC, 125.0)
    assert waiting is not None
    assert waiting.reason.startswith("it loaded its NBP 2 times")
    assert waiting.seconds == jittered(30, MAC) - 5.0
    guard.reached(MAC)
    assert guard.loading(MAC, 126.0) is None
