"""The firmware matrix: every kind of client that is booted, on every kind of network.

``docs/firmware.md`` shows the same table; a test holds them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vm_harness.machine import Firmware, Nic

from tests.support.arm64 import STARTED

__all__ = ["CELLS", "Cell", "Goal", "Path", "table"]

Path = Literal["direct", "relay (isc)", "relay (dnsmasq)", "second NIC", "second interface", "VLAN"]
"""Where the node is: beside the server, behind a DHCP relay on another subnet, on a NIC that is not
its first (which has no cable), on the second interface of the server, on an access port of the VLAN
whose tagged interface the server serves (``tests/vm/test_vlan.py``)."""

Goal = Literal["NBP", "script", "mounted", "up"]
"""How far a boot is followed: the NBP runs, the script runs, the pinned root is mounted, it is up
(``tests/vm/test_drift.py``)."""

_NAMES: dict[Firmware, str] = {
    "bios": "BIOS, iPXE in ROM",
    "uefi": "OVMF PXE",
    "uefi-http": "OVMF HTTP boot",
    "uefi-arm64": "arm64 PXE (11)",
    "uefi-arm64-http": "arm64 HTTP boot (19)",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: a machine, its place on the network, and what it is offered, in order.

    ``fast`` is how far `make test` follows it, empty when only `make test-matrix` boots it.
    """

    firmware: Firmware
    path: Path
    offers: tuple[str, ...]
    nic: Nic = "virtio-net-pci"
    shape: Literal["pxe10", "binl"] = "pxe10"
    fast: Goal | Literal[""] = ""

    @property
    def name(self) -> str:
        """Its name: also the test's id."""
        kind = "uefi-rom" if self.nic == "e1000" and self.firmware == "uefi" else self.firmware
        nic = "-e1000" if self.nic == "e1000" else ""
        shape = "-binl" if self.shape == "binl" else ""
        place = "" if self.path == "direct" else "-" + self.path.translate(_PLAIN)
        return f"{kind}{nic}{shape}{place}"

    @property
    def whole(self) -> Goal:
        """How far `make test-matrix` follows it."""
        return "NBP" if self.firmware.startswith("uefi-arm64") else "mounted"

    @property
    def loading(self) -> frozenset[str]:
        """The phases of its boot before the script: an iPXE in ROM is loaded from nowhere."""
        by = {"uefi": "tftp", "uefi-http": "http"} if self.nic != "e1000" else {}
        return frozenset({"dhcp", "ipxe", *filter(None, [by.get(self.firmware)])})

    @property
    def marker(self) -> str:
        """What the console shows, as a regular expression, once its NBP or its script runs."""
        return STARTED if self.whole == "NBP" else r"bootserve: node node boots \w+@1 "

    @property
    def title(self) -> str:
        """Its firmware in words."""
        if self.firmware == "uefi" and self.nic == "e1000":
            return "OVMF, iPXE in the NIC's ROM"
        return _NAMES[self.firmware]


_PLAIN = str.maketrans({" ": "-", "(": None, ")": None})

_BIOS = ("offer script to ipxe bios",)
_SCRIPT = "offer script to ipxe efi-x64"
_PXE10 = ("offer nbp to pxe efi-x64", _SCRIPT)
_BINL = ("offer binl to pxe efi-x64", "ack binl to pxe efi-x64", _SCRIPT)
_HTTP = ("offer url to http efi-x64", _SCRIPT)
_ARM = ("offer nbp to pxe efi-arm64",)
_ARM_HTTP = ("offer url to http efi-arm64",)

CELLS = (
    Cell("bios", "direct", _BIOS, fast="up"),
    Cell("bios", "direct", _BIOS, nic="e1000", fast="script"),
    Cell("uefi", "direct", _PXE10, fast="mounted"),
    # to the mounted root it goes in tests/vm/test_shapes.py
    Cell("uefi", "direct", _BINL, shape="binl", fast="script"),
    Cell("uefi-http", "direct", _HTTP, fast="mounted"),
    Cell("uefi", "direct", (_SCRIPT,), nic="e1000", fast="script"),
    Cell("uefi-arm64", "direct", _ARM, fast="NBP"),
    Cell("uefi-arm64-http", "direct", _ARM_HTTP, fast="NBP"),
    Cell("bios", "relay (isc)", _BIOS, fast="script"),
    Cell("bios", "relay (isc)", _BIOS, nic="e1000"),
    Cell("uefi", "relay (isc)", _PXE10, fast="script"),
    Cell("uefi", "relay (isc)", _BINL, shape="binl"),
    Cell("uefi-http", "relay (isc)", _HTTP),
    Cell("uefi", "relay (isc)", (_SCRIPT,), nic="e1000"),
    Cell("uefi-arm64", "relay (isc)", _ARM),
    Cell("uefi-arm64-http", "relay (isc)", _ARM_HTTP),
    Cell("bios", "relay (dnsmasq)", _BIOS, fast="script"),
    Cell("uefi", "relay (dnsmasq)", _PXE10),
    Cell("uefi", "relay (dnsmasq)", _BINL, shape="binl"),
    Cell("bios", "second NIC", _BIOS, fast="mounted"),
    Cell("uefi", "second NIC", _PXE10),
    Cell("bios", "second interface", _BIOS, fast="script"),
    Cell("uefi", "second interface", _PXE10),
    Cell("uefi-http", "second interface", _HTTP),
    Cell("bios", "VLAN", _BIOS),
    Cell("uefi", "VLAN", _PXE10),
)


def table() -> str:
    """Return the matrix as a table in Markdown."""
    head = ("Cell", "Firmware", "NIC", "Network", "What it is offered, in order", "`make test`")
    rows = [head, ("---",) * len(head)]
    rows += [
        (
            f"`{cell.name}`",
            cell.title,
            cell.nic.removesuffix("-pci"),
            cell.path,
            "; ".join(cell.offers),
            f"to {cell.fast}" if cell.fast else "",
        )
        for cell in CELLS
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
