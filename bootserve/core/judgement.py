"""What a firmware does with the offers it gets: the words, and what all firmware has in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bootserve.core.offer_facts import Offer
from bootserve.model.finding import Finding, Level

__all__ = [
    "Choice",
    "Firmware",
    "Judgement",
    "Step",
    "dhcp_servers",
    "file_finding",
    "heard",
    "listed",
    "no_address",
    "no_boot",
]

MOST_OFFERS: Final = 16
"""EDK2 keeps this many offers and looks at no more (``PXEBC_OFFER_MAX_NUM``)."""


class Firmware(StrEnum):
    """The firmware types that a probe can stand for."""

    BIOS = "bios"
    UEFI = "uefi"
    UEFI_ARM64 = "uefi-arm64"
    HTTP = "http"
    IPXE = "ipxe"

    @property
    def client(self) -> str:
        """What the firmware is called in a sentence."""
        return _CLIENTS[self]


_CLIENTS: Final = {
    Firmware.BIOS: "a BIOS PXE ROM",
    Firmware.UEFI: "EDK2",
    Firmware.UEFI_ARM64: "EDK2",
    Firmware.HTTP: "EDK2",
    Firmware.IPXE: "iPXE",
}


class Step(StrEnum):
    """What a firmware does next."""

    LOAD = "load"
    """It loads ``file``, by TFTP from ``server`` unless that is a URL."""
    ASK = "ask"
    """It asks ``server`` for the boot file with a REQUEST to port 4011."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One next step, and the offer that it follows from."""

    step: Step
    server: str
    file: str
    offer: Offer


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a firmware makes of the offers.

    ``choices`` are tried in turn until one works; there is none when it cannot boot. ``findings``
    say why, in the order in which a reader wants them.
    """

    choices: tuple[Choice, ...]
    findings: tuple[Finding, ...]


def heard(offers: Sequence[Offer], client: str) -> tuple[list[Offer], list[Finding]]:
    """Return the offers that EDK2 takes note of, in their order, and why it drops others.

    ``client`` is what it is called. iPXE drops none and is not asked here.
    """
    kept, findings = [], []
    for offer in offers:
        if offer.server_id:
            kept.append(offer)
            continue
        findings.append(
            Finding(
                Level.WARNING,
                "offers",
                f"{client} drops the offer of {offer.source}: it lacks option 54 (server)",
                f"Make the server at {offer.source} send option 54 with its own address.",
            )
        )
    if len(kept) > MOST_OFFERS:
        late = listed(one.server for one in kept[MOST_OFFERS:])
        findings.append(
            Finding(
                Level.WARNING,
                "offers",
                f"{len(kept)} offers came and {client} keeps {MOST_OFFERS}: {late} came too late",
                "Too many DHCP servers or relays answer on this segment; switch some off.",
            )
        )
    return kept[:MOST_OFFERS], findings


def dhcp_servers(offers: Sequence[Offer], client: str) -> list[Finding]:
    """Return what to say when several servers give addresses."""
    servers = list(dict.fromkeys(one.server for one in offers if one.address))
    if len(servers) < 2:
        return []
    return [
        Finding(
            Level.WARNING,
            "addresses",
            f"{len(servers)} DHCP servers give addresses: {listed(servers)}; which one {client}"
            " takes depends on which is faster",
            "Leave one of them on this segment, unless they share their leases.",
        )
    ]


def no_address(proxies: Sequence[Offer], client: str) -> Finding:
    """Return the finding that nobody gives the client an address."""
    if not proxies:
        return Finding(
            Level.ERROR,
            "addresses",
            "no DHCP server answers, and no proxyDHCP server either",
            "Check the cable, the VLAN and the interface; then the DHCP server and its relay.",
        )
    names = listed(dict.fromkeys(one.server for one in proxies))
    verb = "add" if len({one.server for one in proxies}) > 1 else "adds"
    return Finding(
        Level.ERROR,
        "addresses",
        f"no DHCP server gives an address; {names} only {verb} a boot program to one, and"
        f" {client} repeats its DISCOVER and gives up",
        "Start the network's DHCP server, or give it a free address for this MAC.",
    )


def no_boot(givers: Sequence[Offer], client: str) -> Finding:
    """Return the finding that there is an address and nothing to boot."""
    names = listed(dict.fromkeys(one.server for one in givers))
    return Finding(
        Level.ERROR,
        "boot",
        f"{names} gives an address and nobody offers a boot program that {client} can use",
        "Is 'bootserve serve' running on this segment, and is this MAC a node's? It answers no"
        " other machine unless --unknown says so.",
    )


def file_finding(firmware: Firmware, file: str) -> Finding | None:
    """Return what speaks against ``file`` (a name or URL) for this firmware, or None."""
    name = file.partition("?")[0].rsplit("/", 1)[-1].lower()
    is_efi = name.endswith(".efi")
    is_bios = name.endswith((".kpxe", ".kkpxe", ".pxe", ".0", ".com"))
    if firmware is Firmware.BIOS and is_efi:
        return Finding(
            Level.ERROR,
            "boot",
            f"{file} is an EFI program, which a BIOS cannot run",
            "Let the server choose the boot file by the client's architecture (option 93).",
        )
    if firmware is not Firmware.BIOS and firmware is not Firmware.IPXE and is_bios:
        return Finding(
            Level.ERROR,
            "boot",
            f"{file} is a BIOS program, which UEFI cannot run",
            "Let the server choose the boot file by the client's architecture (option 93).",
        )
    return None


def listed(names: Iterable[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    all_names = list(names)
    if len(all_names) < 2:
        return "".join(all_names)
    return f"{', '.join(all_names[:-1])} and {all_names[-1]}"
