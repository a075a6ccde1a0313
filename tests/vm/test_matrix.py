"""Every cell of the firmware matrix boots: the fast ones always, all by ``make test-matrix``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.pytest_plugin import VmFactory
from vm_harness.timing import SCRIPT
from vm_harness.topology import HOME, Segment
from vm_harness.vm import Vm

from bootserve.build.bundle import Bundle
from tests.support.arm64 import NBP, arm64_nbp
from tests.vm.conftest import Site
from tests.vm.matrix import CELLS, Cell, Goal

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

MOUNTED_SECONDS = 180.0
FETCHED = {"script", "kernel", "initrd", "initramfs", "root", "verified", "mounted"}
SECOND_MAC = mac_for("node, its second NIC")
BundleOf = Callable[[Cell], Bundle]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab for each cell: relay and segments are of one cell."""
    with Lab.create() as made:
        yield made


@pytest.fixture
def bundle_of(request: pytest.FixtureRequest) -> BundleOf:
    """Give the image for a cell, built when it is asked for."""

    def chosen(cell: Cell) -> Bundle:
        if cell.nic == "e1000":  # the cloud kernel has no driver for it
            generic: Bundle = request.getfixturevalue("generic_bundle")
            return generic
        pair: tuple[Bundle, Bundle] = request.getfixturevalue("bundles")
        return pair[0]

    return chosen


@pytest.fixture
def nbps(tmp_path: Path) -> Path:
    """A directory of NBPs: Debian's iPXE builds, and a program for arm64."""
    folder = tmp_path / "nbps"
    folder.mkdir()
    for name in ("undionly.kpxe", "ipxe.efi", "snponly.efi"):
        shutil.copy(Path("/usr/lib/ipxe") / name, folder)
    shutil.copy(arm64_nbp(), folder / NBP)
    return folder


@pytest.mark.parametrize(
    "cell", [c for c in CELLS if c.fast not in ("", "up")], ids=lambda cell: cell.name
)
def test_cell(lab: Lab, vm: VmFactory, nbps: Path, bundle_of: BundleOf, cell: Cell) -> None:
    assert cell.fast
    follow(lab, vm, nbps, bundle_of, cell, cell.fast)


@pytest.mark.matrix
@pytest.mark.parametrize("cell", [c for c in CELLS if c.path != "VLAN"], ids=lambda cell: cell.name)
def test_whole(lab: Lab, vm: VmFactory, nbps: Path, bundle_of: BundleOf, cell: Cell) -> None:
    follow(lab, vm, nbps, bundle_of, cell, cell.whole)


def follow(
    lab: Lab, vm: VmFactory, nbps: Path, bundle_of: BundleOf, cell: Cell, goal: Goal
) -> None:
    """Boot the cell's machine as far as ``goal`` and check all that bootserve saw of it."""
    segment, arguments = _place(lab, cell)
    arguments += ["--uefi-shape", cell.shape, "--nbp-dir", str(nbps), "--nbp-arm64", NBP]
    site = Site(lab, lab.bootserve(arguments=arguments).start())
    macs = [mac_for("node"), *([SECOND_MAC] if cell.path == "second NIC" else [])]
    _desire(site, cell, goal, macs, bundle_of)
    node = vm(
        "node",
        firmware=cell.firmware,
        nic=cell.nic,
        memory=1024 if goal == "mounted" else 512,
        extra_macs=macs[1:],
        unplugged=[0] if len(macs) > 1 else [],
        segment=segment,
    ).start()
    node.expect(cell.marker, 3 * SCRIPT[cell.firmware])
    if goal == "mounted":
        phases = {one.name for one in site.wait(node, "mounted", MOUNTED_SECONDS)}
        assert phases == FETCHED | cell.loading
    assert _offers(site) == list(cell.offers)
    if goal == "NBP":
        assert _was_loaded(site, cell, segment)
    else:
        _check_boot(site, node, segment, macs[-1])
    if goal == "mounted":
        # firmware, iPXE and initramfs are one client of the DHCP server, with one address
        leases = [lease for one in lab.dhcp_servers for lease in one.leases()]
        assert [lease.mac for lease in leases] == [macs[-1]]
    asked = [one for one in lab.dhcp_servers if one.options_sent()]
    assert asked
    assert all(one.gave_only_addresses() for one in asked)
    site.server.stop()


def _place(lab: Lab, cell: Cell) -> tuple[Segment, list[str]]:
    """Return the network of the cell's node, and what bootserve is told of it."""
    if cell.path == "relay (isc)":
        return lab.add_relay("isc"), []
    if cell.path == "relay (dnsmasq)":
        return lab.add_relay("dnsmasq"), []
    if cell.path == "second interface":
        segment = lab.add_segment()
        return segment, ["--interface", segment.interface]
    return HOME, []


def _desire(site: Site, cell: Cell, goal: Goal, macs: list[str], bundle_of: BundleOf) -> None:
    if goal == "NBP":
        site.admin.call("POST", "/nodes", name="node", macs=macs, arch="arm64")
        return
    if goal == "mounted":
        site.bring_in(bundle_of(cell))
    else:
        site.admin.publish("demo", "1")
        site.admin.call("PUT", "/roles/demo", image="demo")
    site.admin.call("POST", "/nodes", name="node", macs=macs, role="demo")
    site.admin.call("PUT", "/pins", scope="site", generation="demo@1")


def _events(site: Site, event: str) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in site.server.log_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def _offers(site: Site) -> list[str]:
    """Return what the node was offered, in order; what firmware asks for twice stands once."""
    # repeats are counted, in lines without a detail
    told = (line["detail"] for line in _events(site, "dhcp") if "detail" in line)
    return list(dict.fromkeys(told))


def _was_loaded(site: Site, cell: Cell, segment: Segment) -> bool:
    """Whether the NBP left this server by TFTP, whole, or is what the HTTP offer named."""
    if cell.firmware == "uefi-arm64-http":
        return not _events(site, "tftp") and bool(_events(site, "http"))
    [sent] = _events(site, "tftp")
    return sent["detail"].startswith(f"{NBP}, {arm64_nbp().stat().st_size} bytes")


def _check_boot(site: Site, node: Vm, segment: Segment, mac: str) -> None:
    """One boot, of the right NIC, on the right network, of the pinned generation."""
    [boot] = site.admin.call("GET", "/boots?node=node")["boots"]
    assert (boot["mac"], boot["generation"]) == (mac, "demo@1")
    assert str(boot["address"]).startswith(segment.address(1)[:-1])
    base = f"http://{segment.address(2) if segment.number > 1 else HOME.address(2)}:8080"
    assert base in node.console_log.read_bytes().decode(errors="replace")
