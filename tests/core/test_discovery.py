"""Discovered machines: recorded when they say something new, and never without bound."""

from __future__ import annotations

from bootserve.core.discovery import DiscoveryFilter
from bootserve.model.boot import Discovered
from tests.support.states import MAC


def test_the_same_again_is_recorded_once_a_minute() -> None:
    discovery = DiscoveryFilter(10)
    machine = Discovered(MAC, arch="bios", uuid="u")
    assert discovery.passes(machine, 0.0) == machine
    assert discovery.passes(machine, 59.0) is None
    assert discovery.passes(machine, 60.0) == machine


def test_what_the_script_adds_is_merged_with_what_dhcp_told() -> None:
    discovery = DiscoveryFilter(10)
    discovery.passes(Discovered(MAC, arch="bios", uuid="u"), 0.0)
    assert discovery.passes(Discovered(MAC, serial="s"), 1.0) == Discovered(
        MAC, arch="bios", uuid="u", serial="s"
    )


def test_a_flood_of_macs_passes_up_to_the_limit_a_minute() -> None:
    discovery = DiscoveryFilter(100)
    flood = [Discovered(f"52:54:00:00:{n // 256:02x}:{n % 256:02x}") for n in range(1000)]
    assert sum(discovery.passes(machine, 0.0) is not None for machine in flood) == 100
    assert sum(discovery.passes(machine, 61.0) is not None for machine in flood[500:]) == 100
