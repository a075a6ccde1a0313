"""Which NBP is pinned for a node's firmware, and what can be pinned."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from bootserve.core.nbps import (
    check_nbp_pins,
    nbps_of,
    pin_nbp,
    pinned_nbp,
    restorable_nbp_pins,
    unpin_nbp,
    unrestorable_nbp_pins,
)
from bootserve.core.transactions import remove_node, restore, unrestorable
from bootserve.errors import Conflict, InvalidInput, NotFound, Refused
from bootserve.model.desired import DesiredState, Scope
from bootserve.model.names import Arch
from bootserve.model.nbp import Nbp, NbpArch, check_nbp_name, check_program
from tests.support.states import node, state

NBPS = {
    name: Nbp(name, arch, "d" * 64, 100, 1.0, "root", removed)
    for name, arch, removed in (
        ("a.efi", NbpArch.X64, None),
        ("b.efi", NbpArch.X64, None),
        ("c.efi", NbpArch.X64, None),
        ("old.efi", NbpArch.X64, 2.0),
        ("arm.efi", NbpArch.ARM64, None),
        ("u.kpxe", NbpArch.BIOS, None),
    )
}
N1 = node(rack="r1", role="compute")
BARE = state(N1, node("n2", "52:54:00:00:00:02", rack="r2"))


def pinned(*pins: str, start: DesiredState = BARE) -> DesiredState:
    """``pins`` are ``SCOPE NBP``."""
    for text in pins:
        scope, name = text.split()
        start = pin_nbp(Scope.parse(scope), name, NBPS)(start)
    return start


def chosen(found: DesiredState, name: str = "n1", arch: NbpArch = NbpArch.X64) -> str:
    choice = pinned_nbp(found, found.nodes[name], NBPS, arch)
    if choice is None:
        return ""
    return choice.nbp.name if choice.nbp else choice.problem


def test_node_beats_rack_beats_site_for_each_firmware() -> None:
    found = pinned("site a.efi", "site u.kpxe", "rack/r1 b.efi", "node/n1 c.efi")
    assert chosen(found) == "c.efi"
    assert chosen(found, arch=NbpArch.BIOS) == "u.kpxe"
    assert chosen(found, arch=NbpArch.ARM64) == ""
    assert chosen(found, "n2") == "a.efi"
    found = unpin_nbp(Scope.parse("node/n1"), None)(found)
    assert chosen(found) == "b.efi"
    assert [one.pin.nbp for one in nbps_of(found, N1, NBPS)] == ["u.kpxe", "b.efi"]
    assert chosen(BARE) == ""


def test_a_pin_that_cannot_be_followed_gives_way_to_no_other() -> None:
    found = pinned("site a.efi", "rack/r1 b.efi")
    gone = {name: nbp for name, nbp in NBPS.items() if name != "b.efi"}
    choice = pinned_nbp(found, N1, gone, NbpArch.X64)
    assert choice is not None
    assert (choice.nbp, choice.problem) == (
        None,
        "NBP pin rack/r1 names b.efi, which does not exist",
    )
    removed = {**NBPS, "b.efi": replace(NBPS["b.efi"], removed_at=3.0)}
    choice = pinned_nbp(found, N1, removed, NbpArch.X64)
    assert choice is not None
    assert choice.problem == "NBP pin rack/r1 names b.efi, which was removed"


@pytest.mark.parametrize(
    ("scope", "name", "error", "words"),
    [
        ("site", "nope.efi", NotFound, "no NBP nope.efi"),
        ("site", "old.efi", NotFound, "no NBP old.efi"),
        ("role/compute", "a.efi", Refused, "a node, a rack or the site"),
        ("node/n9", "a.efi", NotFound, "no node n9"),
    ],
)
def test_what_cannot_be_pinned(scope: str, name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        pinned(f"{scope} {name}")


def test_an_nbp_must_fit_its_node_also_after_the_node_has_changed() -> None:
    arm = pinned("node/n1 arm.efi")
    with pytest.raises(Refused, match=r"arm\.efi, built for arm64, and the node is amd64"):
        check_nbp_pins(BARE, arm, NBPS)
    found = pinned("node/n1 a.efi", "node/n1 u.kpxe")
    check_nbp_pins(BARE, found, NBPS)
    changed = replace(found, nodes={**found.nodes, "n1": replace(N1, arch=Arch.ARM64)})
    with pytest.raises(Refused, match="and the node is arm64"):
        check_nbp_pins(found, changed, NBPS)
    check_nbp_pins(changed, replace(changed, roles={}), NBPS)


def test_a_pin_of_what_has_been_removed_meanwhile_is_refused() -> None:
    with pytest.raises(NotFound, match="does not exist"):
        check_nbp_pins(BARE, pinned("site a.efi"), {})


def test_unpinning() -> None:
    found = pinned("site a.efi", "site u.kpxe")
    with pytest.raises(Conflict, match="site has NBP pins for bios, x64"):
        unpin_nbp(Scope.parse("site"), None)(found)
    one = unpin_nbp(Scope.parse("site"), NbpArch.X64)(found)
    assert [pin.nbp for pin in one.nbp_pins.values()] == ["u.kpxe"]
    with pytest.raises(NotFound, match="no pin of an NBP for x64 on site"):
        unpin_nbp(Scope.parse("site"), NbpArch.X64)(one)


def test_a_rollback_brings_nbp_pins_back_and_lists_what_it_cannot() -> None:
    old = pinned("site a.efi", "node/n2 b.efi", "rack/r1 c.efi")
    now = remove_node("n2")(pinned("site c.efi"))
    nbps = {**NBPS, "c.efi": replace(NBPS["c.efi"], removed_at=3.0)}
    back = restore(old, {}, everything=False, nbps=nbps)(now)
    assert {str(key.scope): pin.nbp for key, pin in back.nbp_pins.items()} == {"site": "a.efi"}
    assert unrestorable(now, old, {}, everything=False, nbps=nbps) == [
        "NBP pin node/n2 b.efi: node/n2 no longer exists",
        "NBP pin rack/r1 c.efi: the NBP was removed",
    ]
    assert restorable_nbp_pins(old, old, NBPS) == old.nbp_pins
    assert unrestorable_nbp_pins(old, old, NBPS) == []


def test_a_node_takes_its_nbp_pins_with_it() -> None:
    assert remove_node("n1")(pinned("node/n1 a.efi")).nbp_pins == {}


@pytest.mark.parametrize(
    ("name", "arch", "words"),
    [
        ("", "bios", "not a usable NBP name"),
        ("a/b.efi", "x64", "not a usable NBP name"),
        ("..", "bios", "not a usable NBP name"),
        ("a" * 51, "bios", "not a usable NBP name"),
        ("ipxe.efi", "bios", "does not end in .efi"),
        ("ipxe.pxe", "x64", "ends in .efi"),
    ],
)
def test_names_that_firmware_cannot_load_by(name: str, arch: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_nbp_name(name, NbpArch(arch))


def test_the_longest_name_fits_the_boot_file_field_of_dhcp() -> None:
    name = check_nbp_name("a" * 46 + ".efi", NbpArch.X64)
    assert len(replace(NBPS["a.efi"], name=name).path) == 122


def pe(machine: int) -> bytes:
    return (
        b"MZ".ljust(60, b"\0")
        + struct.pack("<I", 128)
        + bytes(64)
        + b"PE\0\0"
        + struct.pack("<H", machine)
    )


@pytest.mark.parametrize(
    ("head", "arch", "words"),
    [
        (pe(0x8664), "x64", ""),
        (pe(0xAA64), "arm64", ""),
        (b"\xeb\x3c program", "bios", ""),
        (pe(0xAA64), "x64", "for arm64, not x64"),
        (pe(0x14C), "x64", "machine 0x14c, not x64"),
        (pe(0x8664), "bios", "no BIOS can start"),
        (b"\xeb\x3c program", "x64", "no PE header"),
        (b"MZ", "x64", "no PE header"),
        (b"MZ".ljust(60, b"\0") + b"\xff" * 4, "x64", "no PE header"),
    ],
)
def test_programs_for_another_firmware_are_refused(head: bytes, arch: str, words: str) -> None:
    if not words:
        check_program(head, NbpArch(arch))
        return
    with pytest.raises(InvalidInput, match=words):
        check_program(head, NbpArch(arch))
