from __future__ import annotations

import pytest

from bootserve import resources
from bootserve.core.quirks import Advice, Quirk, QuirkTable, parse_quirks
from bootserve.errors import InvalidInput
from bootserve.wire.pxe import ClientArch, FirmwareKind, IpxeFeatures, PxeClient

UBOOT = PxeClient(
    "02:00:00:00:00:01",
    FirmwareKind.PXE,
    ClientArch.EFI_ARM64,
    "PXEClient:Arch:00011:UNDI:003000",
    (11,),
)
X64 = PxeClient("52:54:00:00:00:01", FirmwareKind.PXE, ClientArch.EFI_X64, "PXEClient:Arch:0", (7,))
IPXE = PxeClient(
    "52:54:00:00:00:02",
    FirmwareKind.IPXE,
    ClientArch.EFI_X64,
    "PXEClient:Arch:0",
    (7,),
    features=IpxeFeatures(bus_id="01808610fb"),
)
GOOD = """
[[quirk]]
name = "a"
source = "a run"
arch = ["efi-x64", "efi-arm64"]
oui = ["52-54-00", "0200.00"]
shape = "binl"
"""


def shipped() -> tuple[Quirk, ...]:
    return parse_quirks(resources.quirks().read_text(), "shipped")


def test_every_shipped_entry_has_its_source_and_a_name_of_its_own() -> None:
    names = [quirk.name for quirk in shipped()]
    assert len(names) == len(set(names)) > 0
    for quirk in shipped():
        assert "github.com/" in quirk.source or ".c" in quirk.source


def test_the_shipped_entries_find_their_clients_and_no_other() -> None:
    table = QuirkTable(shipped(), "binl")
    assert table.advise(UBOOT).shape == "pxe10"
    assert table.advise(UBOOT).quirk.startswith("u-boot: U-Boot's ")
    assert table.advise(IPXE).nbp == "snponly.efi"
    assert table.advise(X64) == Advice("binl")


@pytest.mark.parametrize(
    ("conditions", "client", "applies"),
    [
        ({"arches": (ClientArch.EFI_X64,)}, X64, True),
        ({"arches": (ClientArch.BIOS,)}, X64, False),
        ({"vendor_class": "PXEClient:Arch"}, X64, True),
        ({"vendor_class": "PXEClient:Arch:00007"}, X64, False),
        ({"bus_id": "01808610fb"}, IPXE, True),
        ({"bus_id": "01808610fc"}, IPXE, False),
        ({"bus_id": "01808610fb"}, X64, False),
        ({"ouis": ("00:11:22", "52:54:00")}, X64, True),
        ({"ouis": ("00:11:22",)}, X64, False),
        ({"arches": (ClientArch.EFI_X64,), "ouis": ("00:11:22",)}, X64, False),
        ({}, X64, True),
    ],
)
def test_every_condition_must_hold(
    conditions: dict[str, object], client: PxeClient, applies: bool
) -> None:
    quirk = Quirk("q", "s", shape="binl", **conditions)  # type: ignore[arg-type]
    assert quirk.applies(client) is applies


def test_the_first_that_applies_counts() -> None:
    first, second = Quirk("one", "s1", nbp="x.efi"), Quirk("two", "s2", shape="binl")
    assert QuirkTable([first, second], "pxe10").advise(X64) == Advice("pxe10", "x.efi", "one: s1")


def test_an_entry_as_it_is_written() -> None:
    assert parse_quirks(GOOD, "f") == (
        Quirk(
            "a",
            "a run",
            (ClientArch.EFI_X64, ClientArch.EFI_ARM64),
            ouis=("52:54:00", "02:00:00"),
            shape="binl",
        ),
    )
    assert parse_quirks("", "f") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[quirk]\n", "f is not TOML: .*line 1"),
        ("\nx = 1\n", "line 2: 'x' is no"),
        ("quirk = 3\n", "line 1: 'quirk' is no"),
        ("quirk = [3]\n", "line 1: 'quirk' is no"),
        (GOOD + "colour = 'red'\n", "line 8: there is no key 'colour'"),
        (GOOD + GOOD.replace('"binl"', '"oval"'), "line 14: shape: 'oval' is none of pxe10, binl"),
        (GOOD.replace('"efi-x64"', '"x64"'), "line 5: arch: 'x64' is none of bios, "),
        (GOOD.replace('"52-54-00"', '"52-54"'), "line 6: oui: '52-54' is not the first three"),
        (GOOD.replace('"52-54-00"', "5"), "line 6: oui: it must be a text"),
        (GOOD + 'bus_id = "8086"\n', "line 8: bus_id: it must be ten hex digits"),
        (GOOD + 'nbp = "a/b.efi"\n', "line 8: nbp: give a file name"),
        (GOOD + 'vendor_class = ""\n', "line 8: vendor_class: it must be a text"),
        (GOOD.replace('name = "a"\n', ""), "line 2: this quirk has no name"),
        (GOOD.replace('source = "a run"\n', ""), "line 2: this quirk has no source"),
        (GOOD + GOOD.replace('shape = "binl"\n', ""), "line 9: this quirk has no shape or nbp"),
        (
            '[[quirk]]\nname = "a"\nsource = "b"\nshape = "binl"\n',
            "line 1: this quirk has no condition",
        ),
    ],
)
def test_a_bad_file_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_quirks(text, "f")
