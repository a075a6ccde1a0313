"""What was tried on real firmware, packet by packet, and what it did (docs/firmware.md)."""

from __future__ import annotations

from dataclasses import dataclass

from bootserve.model.shape import Shape
from tests.firmware.exchange import Firmware, Main, Ours, Seen

__all__ = ["CASES", "HEADINGS", "Case", "row"]

WORDS = {
    "bios": "iPXE of 2019 (BIOS ROM)",
    "uefi": "OVMF 2022.11",
    "uefi-http": "OVMF 2022.11, HTTP boot",
}
HEADINGS = ("Firmware", "The DHCP server sends", "Our offer", "What was seen")


@dataclass(frozen=True)
class Case:
    """One power-on: what the firmware is sent, and its ``end`` (:class:`Seen`).

    ``binl`` is whose port 4011 it asked, ``discovers`` how many it sent, where that is certain.
    ``quick`` ones run at every ``make test``.
    """

    firmware: Firmware
    main: Main
    ours: Ours
    end: str
    shape: Shape = "pxe10"
    binl: str = ""
    requests: int = 1
    declined: int = 0
    discovers: int = 0
    quick: bool = False

    @property
    def name(self) -> str:
        """What the test of it is called."""
        words = (self.firmware, self.shape, self.main, self.ours)
        return "-".join(words).replace(",", "").replace(" ", "-")

    def is_as(self, seen: Seen) -> bool:
        """Return whether ``seen`` is what this case says."""
        return (
            seen.end == self.end
            and {*seen.binl} == ({self.binl} if self.binl else set())
            and (seen.requests, seen.declined) == (self.requests, self.declined)
            and self.discovers in (0, len(seen.discovers))
        )


_SCRIPT = "connects to port 8080 of ours"
_URL = _SCRIPT
_NBP = "fetches ipxe.efi from ours"
_THEIRS = "fetches theirs.efi from theirs"
_THEIR_URL = "connects to port 80 of theirs"

CASES = (
    Case("bios", "address", "at once", _SCRIPT),
    Case("bios", "address", "after 5 s", "gave up"),
    Case("bios", "address", "after the ACK", "gave up"),
    Case("bios", "address", "twice", _SCRIPT, quick=True),
    Case("bios", "address", "without 54", _SCRIPT, quick=True),
    Case("bios", "60 without 43", "at once", "gave up", binl="theirs"),
    Case("bios", "a file", "at once", _THEIRS, quick=True),
    Case("bios", "a file, no NUL", "at once", _THEIRS),
    Case("bios", "60 and a file", "at once", _THEIRS),
    Case("bios", "60, 43 and a file", "at once", _THEIRS),
    Case("bios", "none", "at once", "gave up", requests=0, discovers=4),
    Case("uefi", "address", "at once", _NBP),
    Case("uefi", "address", "after 5 s", _NBP, quick=True),
    Case("uefi", "address", "after the ACK", "gave up", requests=0, discovers=4),
    Case("uefi", "address", "twice", _NBP),
    Case("uefi", "address", "without 54", "gave up", requests=0, discovers=4),
    Case("uefi", "60 without 43", "at once", "gave up", binl="theirs"),
    Case("uefi", "a file", "at once", _NBP),
    Case("uefi", "a file, no NUL", "at once", "gave up", declined=1, quick=True),
    Case("uefi", "60 and a file", "at once", "gave up", binl="theirs"),
    Case("uefi", "60, 43 and a file", "at once", _THEIRS),
    Case("uefi", "none", "at once", "gave up", requests=0, discovers=4),
    Case("uefi", "address", "at once", _NBP, shape="binl", binl="ours", quick=True),
    Case("uefi", "address", "after 5 s", _NBP, shape="binl", binl="ours"),
    Case("uefi", "address", "its ACK after 5 s", _NBP, shape="binl", binl="ours"),
    Case("uefi", "address", "after the ACK", "gave up", shape="binl", requests=0, discovers=4),
    Case("uefi", "address", "twice", _NBP, shape="binl", binl="ours"),
    Case("uefi", "address", "without 54", "gave up", shape="binl", requests=0, discovers=4),
    Case("uefi", "60 without 43", "at once", "gave up", shape="binl", binl="theirs"),
    Case("uefi", "a file", "at once", _NBP, shape="binl", binl="ours"),
    Case("uefi", "60 and a file", "at once", "gave up", shape="binl", binl="theirs"),
    Case("uefi-http", "address", "at once", _URL, quick=True),
    Case("uefi-http", "address", "after 5 s", _URL),
    Case("uefi-http", "address", "after the ACK", "gave up", requests=0, discovers=4),
    Case("uefi-http", "address", "twice", _URL),
    Case("uefi-http", "address", "without 54", "gave up", requests=0, discovers=4),
    Case("uefi-http", "address", "as PXEClient", "gave up", requests=0, discovers=4),
    Case("uefi-http", "60 without 43", "at once", _URL, quick=True),
    Case("uefi-http", "a file", "at once", _URL),
    Case("uefi-http", "60 and a file", "at once", _URL),
    Case("uefi-http", "60, 43 and a file", "at once", _URL),
    Case("uefi-http", "HTTPClient and a URL", "at once", _THEIR_URL),
    Case("uefi-http", "none", "at once", "gave up", requests=0, discovers=4),
)


def row(case: Case) -> str:
    """Return ``case`` as a line of the table in the docs."""
    shape = {"pxe10": "PXE10", "binl": "BINL"}[case.shape]
    what = {"bios": "script", "uefi": shape, "uefi-http": "URL"}[case.firmware]
    ours = f"{what}, {case.ours}"
    seen = [case.end]
    if case.discovers:
        seen = [f"DISCOVER {case.discovers} times, no REQUEST; {case.end}"]
    if case.binl:
        seen.insert(0, f"asks port 4011 of {case.binl}")
    if case.declined:
        seen.insert(0, "declines the lease")
    return f"| {WORDS[case.firmware]} | {case.main} | {ours} | {'; '.join(seen)} |"
