"""DHCP, TFTP, script and artifacts of one machine become one boot."""

from __future__ import annotations

from bootserve.core.exchanges import Exchanges
from bootserve.core.ipxe import UNKNOWN_IPXE
from bootserve.core.timeline import ActiveBoot, Timeline
from bootserve.model.boot import Boot, Phase, PhaseSeen
from bootserve.model.generation import GenerationRef
from bootserve.wire.pxe import IpxeFeatures
from tests.support.states import MAC


def active(number: int = 1, *, address: str = "10.0.0.9", at: float = 110.0) -> ActiveBoot:
    boot = Boot(str(number), "n1", MAC, GenerationRef("web", 1), "d", 1, at, address)
    return ActiveBoot(boot, artifacts={"k": Phase.KERNEL, "r": Phase.ROOT})


def test_early_phases_are_joined_by_mac_and_address() -> None:
    exchanges = Exchanges()
    timeline = Timeline(exchanges)
    exchanges.offered(MAC, 1, 100.0, 100.0, "offer nbp", known=True)
    timeline.loaded(Phase.TFTP, "10.0.0.9", 102.0, "ipxe.efi")
    timeline.loaded(Phase.TFTP, "10.0.0.8", 102.0, "another machine")
    begun = active()
    assert timeline.begin(begun) == [
        PhaseSeen("1", Phase.DHCP, 100.0, "offer nbp"),
        PhaseSeen("1", Phase.TFTP, 102.0, "ipxe.efi"),
    ]
    assert begun.phases == {Phase.DHCP, Phase.TFTP}
    assert timeline.begin(active(2)) == []


def test_what_an_ipxe_can_do_is_remembered_by_its_nic() -> None:
    timeline = Timeline(Exchanges(), max_boots=2)
    assert timeline.ipxe(MAC) == UNKNOWN_IPXE
    features = IpxeFeatures(http=True, version="1.21.1", names=("http", "bzimage"))
    timeline.told(MAC, features)
    known = timeline.ipxe(MAC)
    assert (known.known, known.version, known.bzimage, known.efi) == (True, "1.21.1", True, False)
    timeline.begin(active())
    assert timeline.ipxe(MAC) == known
    for last in (2, 3):
        timeline.told(f"52:54:00:00:00:0{last}", features)
    assert timeline.ipxe(MAC) == UNKNOWN_IPXE


def test_what_an_old_boot_was_still_fetching_is_not_the_new_ones() -> None:
    timeline = Timeline(Exchanges())
    timeline.begin(active(1, at=110.0))
    timeline.begin(active(2, at=120.0))
    assert timeline.fetched("10.0.0.9", "r", 115.0, 125.0) == PhaseSeen("1", Phase.ROOT, 125.0)
    assert timeline.fetched("10.0.0.9", "r", 121.0, 126.0) == PhaseSeen("2", Phase.ROOT, 126.0)
    assert timeline.fetched("10.0.0.9", "r", 105.0, 127.0) is None


def test_two_boots_of_one_node_at_two_addresses_do_not_mix() -> None:
    timeline = Timeline(Exchanges())
    timeline.begin(active(1, address="10.0.0.9"))
    timeline.begin(active(2, address="10.0.0.8"))
    assert timeline.fetched("10.0.0.9", "k", 115.0, 116.0) == PhaseSeen("1", Phase.KERNEL, 116.0)
    assert timeline.fetched("10.0.0.8", "k", 115.0, 117.0) == PhaseSeen("2", Phase.KERNEL, 117.0)


def test_a_digest_that_only_the_boot_before_fetches_is_that_ones() -> None:
    timeline = Timeline(Exchanges())
    timeline.begin(active(1, at=110.0))
    other = active(2, at=120.0)
    other.artifacts = {"another kernel": Phase.KERNEL}
    timeline.begin(other)
    assert timeline.fetched("10.0.0.9", "k", 121.0, 122.0) == PhaseSeen("1", Phase.KERNEL, 122.0)


def test_a_boot_that_is_recalled_takes_its_place_and_not_the_newest_ones() -> None:
    timeline = Timeline(Exchanges())
    for number in (1, 3, 2, 2, 1):
        timeline.restore([active(number, at=100.0 + 10 * number)])
    found = [timeline.fetched("10.0.0.9", "k", 100.0 + began, 200.0) for began in (35, 25, 15)]
    assert [seen and seen.boot_id for seen in found] == ["3", "2", "1"]


def test_an_artifact_counts_once_for_the_newest_boot_of_its_address() -> None:
    timeline = Timeline(Exchanges())
    timeline.begin(active(1))
    timeline.begin(active(2))
    seen = timeline.fetched("10.0.0.9", "k", 110.5, 111.0)
    assert seen == PhaseSeen("2", Phase.KERNEL, 111.0)
    assert timeline.fetched("10.0.0.9", "k", 111.0, 112.0) is None
    assert timeline.fetched("10.0.0.9", "other", 111.0, 112.0) is None
    assert timeline.fetched("10.0.0.8", "k", 111.0, 112.0) is None


def test_memory_is_bounded_and_the_oldest_go() -> None:
    timeline = Timeline(Exchanges(), max_boots=2, max_early=2)
    for number in range(4):
        timeline.begin(active(number, address=f"10.0.0.{number}"))
        timeline.loaded(Phase.TFTP, f"10.0.1.{number}", 100.0, "")
    assert [timeline.get(str(number)) is not None for number in range(4)] == [
        False,
        False,
        True,
        True,
    ]
    assert timeline.fetched("10.0.0.0", "k", 110.0, 111.0) is None
    assert timeline.fetched("10.0.0.3", "k", 110.0, 111.0) is not None
    assert timeline.begin(active(8, address="10.0.1.0")) == []
    assert [seen.phase for seen in timeline.begin(active(9, address="10.0.1.3"))] == [Phase.TFTP]
