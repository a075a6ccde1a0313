"""NBPs from Debian's packages, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.nbp_facts import NbpFacts, inspect_nbp
from bootserve.wire.pxe import ClientArch

IPXE = Path("/usr/lib/ipxe")
VERSION = "1.0.0+git-20190125.36a4c85-5.1"


@pytest.mark.parametrize("name", ["ipxe.efi", "snponly.efi"])
def test_an_ipxe_for_uefi_says_what_it_can_do(name: str) -> None:
    facts = inspect_nbp((IPXE / name).read_bytes())
    assert (facts.arch, facts.is_ipxe, facts.version) == (ClientArch.EFI_X64, True, VERSION)
    assert facts.features
    assert (facts.features.http, facts.features.https) == (True, False)
    assert str(facts) == f"iPXE for efi-x64 {VERSION}, with HTTP"


@pytest.mark.parametrize("name", ["undionly.kpxe", "undionly.kkpxe", "ipxe.pxe"])
def test_an_ipxe_for_bios_is_compressed(name: str) -> None:
    facts = inspect_nbp((IPXE / name).read_bytes())
    assert facts == NbpFacts(ClientArch.BIOS, is_ipxe=True)
    assert str(facts) == "iPXE for bios"


def test_features_that_are_missing_are_missed() -> None:
    whole = (IPXE / "snponly.efi").read_bytes()
    without = inspect_nbp(whole.replace(b"\x13\x01\x01", b"\x14\x01\x01"))
    assert str(without).endswith("with HTTPS")
    assert str(inspect_nbp(whole.replace(b"\x13\x01\x01", b"\x2a\x01\x01"))).endswith(
        "with neither HTTP nor HTTPS"
    )


def test_other_programs_and_files() -> None:
    other = bytearray((IPXE / "snponly.efi").read_bytes()[:4096])
    assert inspect_nbp(bytes(other)) == NbpFacts(ClientArch.EFI_X64)
    at = int.from_bytes(other[0x3C:0x40], "little")
    other[at + 4 : at + 6] = b"\x64\xaa"
    assert str(inspect_nbp(bytes(other))) == "efi-arm64 program"
    other[at + 92] = 11  # a driver
    assert inspect_nbp(bytes(other)) == NbpFacts(None)
    assert str(inspect_nbp(b"")) == "no boot program that is known here"


@given(st.binary(max_size=200))
def test_any_bytes_are_something(data: bytes) -> None:
    assert str(inspect_nbp(data))
    assert str(inspect_nbp(b"MZ" + bytes(0x3A) + b"\x40\0\0\0" + data))
