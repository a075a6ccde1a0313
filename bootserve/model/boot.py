"""What nodes do: boots, phases, reports and discovered machines."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bootserve.model.generation import GenerationRef
from bootserve.model.names import Mac

__all__ = ["Boot", "Discovered", "Phase", "PhaseSeen"]


class Phase(StrEnum):
    """The steps of one boot, in the order in which a healthy boot passes them.

    ``dhcp`` is the first message of a start, ``tftp`` or ``http`` the NBP, ``ipxe`` iPXE's own
    DHCP. ``initramfs`` to ``up`` are said by the node itself, the others are seen by the server,
    and ``root`` by either.
    ``failed`` is a node's own word that this boot came to nothing.
    """

    DHCP = "dhcp"
    TFTP = "tftp"
    HTTP = "http"
    IPXE = "ipxe"
    SCRIPT = "script"
    KERNEL = "kernel"
    INITRD = "initrd"
    INITRAMFS = "initramfs"
    ROOT = "root"
    VERIFIED = "verified"
    MOUNTED = "mounted"
    UP = "up"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Boot:
    """One node's one start, minted when its script is served.

    ``minted_at`` is seconds since the epoch. ``address`` is the IPv4 address that fetched the
    script, by which later artifact fetches are joined to this boot.
    """

    id: str
    node: str
    mac: Mac
    generation: GenerationRef
    digest: str
    revision: int
    minted_at: float
    address: str


@dataclass(frozen=True, slots=True)
class PhaseSeen:
    """A phase of a boot, when it was seen (seconds since the epoch) and what was said of it."""

    boot_id: str
    phase: Phase
    at: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Discovered:
    """A machine that asked to boot and is no node, with what its firmware told."""

    mac: Mac
    arch: str = ""
    uuid: str = ""
    vendor_class: str = ""
    serial: str = ""
    manufacturer: str = ""
    product: str = ""
