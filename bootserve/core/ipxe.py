"""What a running iPXE can do, as the templates see it, and in a line of text."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from bootserve.wire.pxe import IpxeFeatures

__all__ = ["UNKNOWN_IPXE", "Ipxe", "describe", "ipxe_of"]


class Ipxe(NamedTuple):
    """The iPXE that asks for a script, by what it said at its DHCP (option 175).

    ``known`` is false when it was not heard, as after a restart of the server: all is then as in
    the oldest iPXE that is supported, Debian's of 2019, whose firmware is not known either.
    ``version`` is ``1.21.1``. ``bzimage`` is the Linux kernel on BIOS, ``efi`` every EFI program,
    which a kernel is too.
    """

    known: bool = False
    version: str = ""
    http: bool = True
    https: bool = False
    efi: bool = False
    bzimage: bool = False
    menu: bool = False
    vlan: bool = False

    @property
    def starts_linux(self) -> bool:
        """Whether it can start a Linux kernel, as far as is known."""
        return not self.known or self.efi or self.bzimage


UNKNOWN_IPXE = Ipxe()


@lru_cache(256)  # the iPXEs of a site are few: they are kept once, however many nodes run them
def ipxe_of(features: IpxeFeatures | None) -> Ipxe:
    """Return what the templates are told of an iPXE; None for one that sent no option 175."""
    if features is None:
        return UNKNOWN_IPXE
    named = features.names
    return Ipxe(
        known=True,
        version=features.version,
        http=features.http,
        https=features.https,
        efi=features.efi,
        bzimage="bzimage" in named,
        menu="menu" in named,
        vlan="vlan" in named,
    )


def describe(features: IpxeFeatures) -> str:
    """Return the version and the features in a line: ``1.0.0: http, efi, menu``."""
    return f"{features.version or 'no version'}: {', '.join(features.names) or 'no features'}"
