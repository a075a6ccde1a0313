"""DHCP, TFTP, script and artifacts of one machine become one boot."""

from __future__ import annotations

from bootserve.core.timeline import ActiveBoot, Timeline
from bootserve.model.boot import Boot, Phase, PhaseSeen
from bootserve.model.generation import GenerationRef
from tests.support.states import MAC


def active(number: int = 1, *, address: str = "10.0.0.9", at: float = 110.0) -> ActiveBoot:
    boot = Boot(str(number), "n1", MAC, GenerationRef("web", 1), "d", 1, at, address)
    return ActiveBoot(boot, artifacts={"k": Phase.KERNEL, "r": Phase.ROOT})


def test_early_phases_are_joined_by_mac_and_address() -> None:
    timeline = Timeline()
    timeline.early(Phase.DHCP, MAC, 100.0, "offer nbp")
    timeline.early(Phase.DHCP, MAC, 103.0, "offer script")
    timeline.early(Phase.TFTP, "10.0.0.9", 102.0, "ipxe.efi")
    timeline.early(Phase.TFTP, "10.0.0.8", 102.0, "another machine")
    assert timeline.begin(active()) == [
        PhaseSeen("1", Phase.DHCP, 100.0, "offer nbp"),
        PhaseSeen("1", Phase.TFTP, 102.0, "ipxe.efi"),
    ]
    assert timeline.begin(active(2)) == []


def test_a_phase_of_a_boot_long_past_is_not_taken_for_this_ones() -> None:
    timeline = Timeline()
    timeline.early(Phase.DHCP, MAC, 100.0, "old")
    assert timeline.begin(active(at=400.0)) == []
    timeline.early(Phase.DHCP, MAC, 500.0, "old")
    timeline.early(Phase.DHCP, MAC, 700.0, "new")
    assert timeline.begin(active(2, at=701.0)) == [PhaseSeen("2", Phase.DHCP, 700.0, "new")]


def test_an_artifact_counts_once_for_the_newest_boot_of_its_address() -> None:
    timeline = Timeline()
    timeline.begin(active(1))
    timeline.begin(active(2))
    assert timeline.fetched("10.0.0.9", "k", 111.0) == PhaseSeen("2", Phase.KERNEL, 111.0)
    assert timeline.fetched("10.0.0.9", "k", 112.0) is None
    assert timeline.fetched("10.0.0.9", "other", 112.0) is None
    assert timeline.fetched("10.0.0.8", "k", 112.0) is None


def test_memory_is_bounded_and_the_oldest_go() -> None:
    timeline = Timeline(max_boots=2, max_early=2)
    for number in range(4):
        timeline.begin(active(number, address=f"10.0.0.{number}"))
        timeline.early(Phase.DHCP, f"mac {number}", 100.0, "")
    assert [timeline.get(str(number)) is not None for number in range(4)] == [
        False,
        False,
        True,
        True,
    ]
    assert timeline.fetched("10.0.0.0", "k", 1.0) is None
    assert timeline.fetched("10.0.0.3", "k", 1.0) is not None
