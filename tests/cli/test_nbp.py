"""Commands on NBPs, against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.runner import Cli
from tests.cli.test_complete import completed

SNPONLY = Path("/usr/lib/ipxe/snponly.efi")


@pytest.fixture(scope="module", autouse=True)
def node(cli: Cli) -> None:
    cli("node", "add", "n1", "--mac", "52:54:00:0d:00:01", "--rack", "r1")


def test_an_nbp_from_beginning_to_end(cli: Cli) -> None:
    assert "Add one with" in cli("nbp", "list").err
    said = cli("nbp", "add", SNPONLY, "--arch", "x64", "--name", "snp-1.efi").out
    assert said.startswith("snp-1.efi is added, ")
    assert said.endswith(" for x64. Pin it with 'bootserve nbp pin'.\n")
    again = cli("nbp", "add", SNPONLY, "--arch", "x64", "--name", "snp-1.efi").out
    assert again == "snp-1.efi is there already.\n"
    pinned = cli("nbp", "pin", "rack/r1", "snp-1.efi", "-m", "why").out
    assert pinned.startswith("rack/r1 loads snp-1.efi from the next boot on; revision ")
    header, line = cli("nbp", "list").out.splitlines()
    assert header.split() == [
        "NBP",
        "ARCH",
        "SIZE",
        "SHA256",
        "ADDED",
        "BY",
        *["PINNED", "AT", "NODES"],
    ]
    assert line.split()[:2] == ["snp-1.efi", "x64"]
    assert line.split()[-2:] == ["rack/r1", "1"]
    assert "x64: snp-1.efi, pin rack/r1\n" in cli("explain", "n1").out
    assert "Pinned NBP    x64: snp-1.efi, pin rack/r1\n" in cli("node", "show", "n1").out
    assert completed("bootserve nbp pin site ", cli.state_dir) == ["snp-1.efi"]
    assert "is in use: pin rack/r1 (now)" in cli("nbp", "rm", "snp-1.efi", code=1).err
    unpinned = cli("nbp", "unpin", "rack/r1", "--arch", "x64", "-m", "why").out
    assert unpinned.startswith("rack/r1 has no NBP of its own any more; revision ")
    assert "one of the last 10" in cli("nbp", "rm", "snp-1.efi", code=1).err
    for number in range(10):
        cli("rack", "set", "r9", "--kernel-args", f"a={number}")
    assert cli("nbp", "rm", "snp-1.efi").out == "snp-1.efi is removed.\n"
    assert cli.json("nbp", "list")["nbps"] == []
    assert "snp-1.efi (removed)" in cli("nbp", "list", "--removed").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", SNPONLY, "--arch", "arm64"], "this is an EFI program for x64, not arm64"),
        (["add", SNPONLY, "--arch", "bios"], "does not end in .efi"),
        (["add", "/nowhere/x.efi", "--arch", "x64"], "cannot read /nowhere/x.efi"),
        (["add", "/proc/version", "--arch", "x64", "--name", "v.efi"], "no PE header"),
        (["add", "/dev/null", "--arch", "bios"], "an NBP has 1 to"),
        (["add", "/dev/zero", "--arch", "bios"], "an NBP has 1 to"),
        (["rm", "nope.efi"], "there is no NBP nope.efi"),
        (["pin", "site", "nope.efi", "-m", "x"], "there is no NBP nope.efi"),
        (["unpin", "site", "-m", "x"], "there is no pin of an NBP on site"),
    ],
)
def test_what_is_wrong_is_said(cli: Cli, words: list[str], said: str) -> None:
    assert said in cli("nbp", *words, code=1).err
