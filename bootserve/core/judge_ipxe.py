"""How iPXE chooses among offers (its ``src/net/udp/dhcp.c``).

iPXE does not sort: it goes on as soon as it has an address and a proxy's offer, so the order of
arrival counts; and of two boot files it takes that of the DHCP server. An offer without option 54
it takes as any other (seen in a run).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bootserve.core.judgement import (
    Choice,
    Firmware,
    Judgement,
    Step,
    dhcp_servers,
    listed,
    no_address,
    no_boot,
)
from bootserve.core.offer_facts import Offer
from bootserve.model.finding import Finding, Level

__all__ = ["judge_ipxe", "judge_ipxe_ack"]

CLIENT = Firmware.IPXE.client


@dataclass(frozen=True, slots=True)
class _Taken:
    """The offers that iPXE goes on with, as far as it has got."""

    giver: Offer | None = None
    proxy: Offer | None = None

    @property
    def is_enough(self) -> bool:
        return bool(self.giver and (self.giver.forbids_proxy or self.proxy))


def judge_ipxe(offers: Sequence[Offer]) -> Judgement:
    """Return what iPXE makes of ``offers``, which are in the order of their arrival."""
    findings = dhcp_servers(offers, CLIENT)
    taken = _taken(offers)
    if taken.giver is None:
        return Judgement((), (*findings, no_address(offers, CLIENT)))
    findings += _late(offers, taken)
    giver = taken.giver
    proxy = None if giver.forbids_proxy else taken.proxy
    if giver.forbids_proxy:
        findings += _forbidden(giver, offers)
    if giver.boot_file:
        return _loading(giver, [*findings, *_beats(giver, proxy)])
    if proxy is None:
        return Judgement((), (*findings, no_boot([giver], CLIENT)))
    if proxy.has_menu and not proxy.boot_file:
        return Judgement((), (*findings, _menu(proxy)))
    if proxy.boot_file and proxy.next_server:
        return _loading(proxy, findings)
    return _asking(proxy, findings)


def _taken(offers: Sequence[Offer]) -> _Taken:
    taken = _Taken()
    for offer in offers:
        giver, proxy = taken.giver, taken.proxy
        if offer.address and (giver is None or offer.priority >= giver.priority):
            giver = offer
        if offer.is_pxe and (proxy is None or offer.priority >= proxy.priority):
            proxy = offer
        taken = _Taken(giver, proxy)
        if taken.is_enough:
            break
    return taken


def _late(offers: Sequence[Offer], taken: _Taken) -> list[Finding]:
    """Return what to say when more than one server answers as PXE."""
    if taken.proxy is None:
        return []
    others = {one.server for one in offers if one.is_pxe} - {taken.proxy.server}
    if not others:
        return []
    return [
        Finding(
            Level.WARNING,
            "boot",
            f"{listed([taken.proxy.server, *sorted(others)])} answer as PXE; {CLIENT} goes on with"
            f" the first pair of offers that will do, this time that of {taken.proxy.server}",
            "Leave one proxyDHCP server on this segment.",
        )
    ]


def _forbidden(giver: Offer, offers: Sequence[Offer]) -> list[Finding]:
    proxies = sorted({one.server for one in offers if one.is_pxe} - {giver.server})
    text = f"the DHCP server {giver.server} tells iPXE to listen to no proxy (option 175.176)"
    return [
        Finding(
            Level.ERROR if proxies else Level.WARNING,
            "boot",
            f"{text}, so what {listed(proxies)} offers does not count" if proxies else text,
            f"Remove no-pxedhcp (option 175.176) from {giver.server}.",
        )
    ]


def _beats(giver: Offer, proxy: Offer | None) -> list[Finding]:
    if proxy is None or proxy is giver or not proxy.boot_file:
        return []
    return [
        Finding(
            Level.WARNING,
            "boot",
            f"{proxy.server} offers {proxy.boot_file}, but {CLIENT} takes the boot file of the DHCP"
            f" server {giver.server} ({giver.boot_file})",
            f"Remove the boot file (option 67, file, next-server) from {giver.server}.",
        )
    ]


def _loading(offer: Offer, findings: list[Finding]) -> Judgement:
    file = offer.boot_file
    is_url = "://" in file
    if not is_url and not offer.next_server:
        finding = Finding(
            Level.ERROR,
            "boot",
            f"{offer.server} names {file} and no server to load it from (siaddr is 0)",
            f"Set next-server on {offer.server}, or send a whole URL.",
        )
        return Judgement((), (*findings, finding))
    where = file if is_url else f"{file} by TFTP from {offer.next_server}"
    findings = [*findings, Finding(Level.OK, "boot", f"{CLIENT} loads {where}")]
    if not is_url and file.lower().endswith((".efi", "pxe", ".0")):
        findings.append(
            Finding(
                Level.WARNING,
                "boot",
                f"{file} looks like another boot program and no script: if it is an iPXE, it loads"
                " itself again without end",
                f"Make {offer.server} send its script to user class iPXE (option 77).",
            )
        )
    return Judgement((Choice(Step.LOAD, offer.next_server, file, offer),), tuple(findings))


def _asking(proxy: Offer, findings: list[Finding]) -> Judgement:
    why = "no boot file" if not proxy.boot_file else "no next server (siaddr is 0)"
    finding = Finding(
        Level.WARNING if proxy.boot_file else Level.OK,
        "boot",
        f"the offer of {proxy.server} has {why}: {CLIENT} asks it on port 4011",
        f"Make {proxy.server} send siaddr with its own address." if proxy.boot_file else "",
    )
    return Judgement((Choice(Step.ASK, proxy.server, "", proxy),), (*findings, finding))


def _menu(proxy: Offer) -> Finding:
    return Finding(
        Level.WARNING,
        "boot",
        f"{proxy.server} sends a boot menu (43.9) and no boot file: somebody has to choose",
        "For machines without an operator, let it send a script's URL.",
    )


def judge_ipxe_ack(ack: Offer) -> Judgement:
    """Return what iPXE makes of the answer to its REQUEST on port 4011."""
    if ack.boot_file and (ack.next_server or "://" in ack.boot_file):
        return _loading(ack, [])
    finding = Finding(
        Level.ERROR,
        "boot",
        f"{ack.server} answers on port 4011 without a boot file and a server (siaddr)",
        f"Look into the log of the server at {ack.server}.",
    )
    return Judgement((), (finding,))
