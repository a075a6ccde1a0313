"""Offers of DHCP and proxyDHCP servers, made in a line."""

from __future__ import annotations

from bootserve.core.firmware import Judgement
from bootserve.core.offer_facts import Offer
from bootserve.wire.dhcp import DhcpPacket

__all__ = [
    "MAIN_CLASS_ONLY",
    "MENU",
    "NO_54",
    "NO_CLASS",
    "NO_PROXY",
    "PXE10",
    "SCRIPT",
    "URL",
    "binl",
    "http",
    "main",
    "main_pxe10",
    "offer",
    "packed",
    "proxy",
    "said",
    "script",
    "steps",
]

PXE10 = b"\x06\x01\x08\xff"
MENU = b"\x06\x01\x07\x08\x07\x80\x00\x01\x0a\x00\x00\x05\x09\x06\x80\x00\x03Run\x0a\x04\x05Go!\xff"
URL = "http://10.0.0.2:8080/nbp/ipxe.efi"
SCRIPT = "http://10.0.0.2:8080/boot/52-54-00-00-00-01.ipxe"


def packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))


def offer(
    server: str,
    *,
    gives: str = "0.0.0.0",
    client_class: str = "",
    vendor: bytes = b"",
    file: str = "",
    header: str = "",
    siaddr: str = "0.0.0.0",
    kind: int = 2,
    **more: bytes,
) -> Offer:
    options = {53: bytes((kind,)), 54: packed(server)}
    if client_class:
        options[60] = client_class.encode()
    if vendor:
        options[43] = vendor
    if file:
        options[67] = file.encode()
    options |= {int(code.lstrip("o")): value for code, value in more.items()}
    packet = DhcpPacket(
        op=2,
        xid=1,
        chaddr=bytes(6),
        options={code: value for code, value in options.items() if value != b"-"},
        yiaddr=packed(gives),
        siaddr=packed(siaddr),
        file=header.encode(),
    )
    return Offer(packet, server)


def main(server: str = "10.0.0.1", **fields: str) -> Offer:
    """The DHCP server that was there before: an address and nothing else."""
    return offer(server, gives="10.0.0.100", **fields)  # type: ignore[arg-type]


def proxy(server: str = "10.0.0.2", file: str = "ipxe.efi", header: str = "ipxe.efi") -> Offer:
    return offer(
        server, client_class="PXEClient", vendor=PXE10, file=file, header=header, siaddr=server
    )


def binl(server: str = "10.0.0.2") -> Offer:
    return offer(server, client_class="PXEClient", siaddr=server)


def script(server: str = "10.0.0.2") -> Offer:
    return proxy(server, SCRIPT, SCRIPT)


def said(found: Judgement) -> str:
    return "\n".join(one.found for one in found.findings)


def steps(found: Judgement) -> str:
    return ", ".join(f"{one.step} {one.file} {one.server}" for one in found.choices)


def http(server: str = "10.0.0.2", url: str = URL, **fields: str) -> Offer:
    return offer(server, client_class="HTTPClient", file=url, **fields)  # type: ignore[arg-type]


def main_pxe10(server: str = "10.0.0.5", file: str = "own.efi") -> Offer:
    return offer(
        server, gives="10.0.0.101", client_class="PXEClient", vendor=PXE10, file=file, header=file
    )


MAIN_CLASS_ONLY = offer("10.0.0.1", gives="10.0.0.100", client_class="PXEClient")
NO_54 = offer("10.0.0.2", client_class="PXEClient", vendor=PXE10, file="a.efi", o54=b"-")
NO_CLASS = offer("10.0.0.2", vendor=PXE10, file="a.efi")
NO_PROXY = b"\xb0\x01\x01"
