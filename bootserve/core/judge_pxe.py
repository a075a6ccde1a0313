"""How PXE firmware chooses among offers.

The order is EDK2's (``NetworkPkg/UefiPxeBcDxe/PxeBcDhcp4.c``, ``PxeBcSelectDhcp4Offer``), which
follows PXE 2.1 section 2.2 and so fits BIOS ROMs too. What counts is where the address comes from,
and whether an offer carries PXE discovery options (PXE10) or only the class (BINL).
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
    file_finding,
    heard,
    listed,
    no_address,
    no_boot,
)
from bootserve.core.offer_facts import Offer
from bootserve.model.finding import Finding, Level

__all__ = ["judge_pxe", "judge_pxe_ack"]


@dataclass(frozen=True, slots=True)
class _Kinds:
    """The offers by what EDK2 takes them for."""

    dhcp_pxe10: list[Offer]
    dhcp_binl: list[Offer]
    dhcp_only: list[Offer]
    proxy_pxe10: list[Offer]
    proxy_binl: list[Offer]
    useless: list[Offer]

    @property
    def proxies(self) -> list[Offer]:
        return [*self.proxy_pxe10, *self.proxy_binl]

    @property
    def givers(self) -> list[Offer]:
        return [*self.dhcp_pxe10, *self.dhcp_binl, *self.dhcp_only]


def judge_pxe(firmware: Firmware, offers: Sequence[Offer]) -> Judgement:
    """Return what PXE firmware makes of ``offers``, which are in the order of their arrival."""
    client = firmware.client
    kept, findings = heard(offers, client)
    kinds = _kinds(kept)
    findings += [_useless(one, client) for one in kinds.useless]
    findings += dhcp_servers(kept, client)
    choices, said = _select(kinds, client)
    findings += said
    if choices and choices[0].step is Step.LOAD:
        findings += _load_findings(firmware, choices[0])
    if not choices and (kinds.dhcp_pxe10 or kinds.proxy_pxe10) and kinds.givers:
        findings.append(_discovery([*kinds.dhcp_pxe10, *kinds.proxy_pxe10][0], client))
    return Judgement(choices, tuple(findings))


def _kinds(offers: Sequence[Offer]) -> _Kinds:
    kinds = _Kinds([], [], [], [], [], [])
    for offer in offers:
        if offer.is_pxe10:
            (kinds.dhcp_pxe10 if offer.address else kinds.proxy_pxe10).append(offer)
        elif offer.is_pxe:
            (kinds.dhcp_binl if offer.address else kinds.proxy_binl).append(offer)
        else:
            (kinds.dhcp_only if offer.address else kinds.useless).append(offer)
    return kinds


def _useless(offer: Offer, client: str) -> Finding:
    what = "is for HTTP boot (option 60 is HTTPClient)" if offer.is_http else (
        "gives no address and does not say PXEClient in option 60"
    )  # fmt: skip
    return Finding(
        Level.WARNING,
        "offers",
        f"{client} ignores the offer of {offer.server}: it {what}",
        f"Make the server at {offer.server} send option 60 PXEClient to PXE clients.",
    )


def _discovery(offer: Offer, client: str) -> Finding:
    return Finding(
        Level.WARNING,
        "boot",
        f"{offer.server} sends PXE options and no boot file: {client} shows the menu or looks for a"
        " boot server, which is not followed here",
        f"For machines without an operator, let {offer.server} send 43.6 = 8 and a boot file.",
    )


def _select(kinds: _Kinds, client: str) -> tuple[tuple[Choice, ...], list[Finding]]:
    if kinds.dhcp_pxe10:
        return _main_server(kinds, client)
    if kinds.dhcp_only and kinds.proxy_pxe10:
        return _proxy(kinds, client)
    if kinds.dhcp_binl:
        return _main_server_binl(kinds, client)
    if kinds.dhcp_only and kinds.proxy_binl:
        return _proxy_binl(kinds, client)
    return _no_pxe(kinds, client)


def _main_server(kinds: _Kinds, client: str) -> tuple[tuple[Choice, ...], list[Finding]]:
    winner = kinds.dhcp_pxe10[0]
    own = "a boot file of its own" if winner.boot_file else "PXE options of its own"
    text = f"{client} prefers {winner.server}, the DHCP server itself, which sends {own}"
    others = _servers([*kinds.proxies, *kinds.dhcp_binl], winner)
    if not others:
        return _load(winner), [Finding(Level.OK, "boot", f"{text}; no proxyDHCP server answers")]
    everyone = [*others, winner.server]
    finding = Finding(
        Level.WARNING,
        "boot",
        f"{_count(everyone)} servers answer as PXE, {listed(everyone)}; {text}",
        f"If nodes are to boot from {listed(others)}, remove options 43, 60 and 67 from the DHCP"
        f" server {winner.server}.",
    )
    return _load(winner), [finding]


def _proxy(kinds: _Kinds, client: str) -> tuple[tuple[Choice, ...], list[Finding]]:
    giver, winner = kinds.dhcp_only[0], kinds.proxy_pxe10[0]
    findings = [
        Finding(
            Level.OK,
            "boot",
            f"{client} takes its address from {giver.server} and its boot program from"
            f" {winner.server}, all in the offer (PXE10)",
        )
    ]
    rivals = _servers(kinds.proxy_pxe10, winner)
    if rivals:
        everyone = [winner.server, *rivals]
        findings.append(
            Finding(
                Level.WARNING,
                "boot",
                f"{_count(everyone)} servers answer as PXE, {listed(everyone)}; {client} takes the"
                f" one that answers first, this time {winner.server}",
                "Leave one proxyDHCP server on this segment, or let each answer its own machines.",
            )
        )
    slower = _servers([*kinds.proxy_binl, *kinds.dhcp_binl], winner)
    if slower:
        findings.append(
            Finding(
                Level.WARNING,
                "boot",
                f"{listed(slower)} answers as PXE too, without PXE options (43): {client} prefers"
                f" {winner.server}, which sends them",
                f"Switch PXE off on {listed(slower)}, if nodes are to boot from {winner.server}.",
            )
        )
    return _load(winner), [*findings, *_file_beside(giver, client, winner)]


def _file_beside(giver: Offer, client: str, winner: Offer) -> list[Finding]:
    if not giver.boot_file:
        return []
    return [
        Finding(
            Level.WARNING,
            "boot",
            f"the DHCP server {giver.server} sends a boot file too ({giver.boot_file}): {client}"
            f" follows {winner.server}, but iPXE takes that of the DHCP server",
            f"Remove the boot file (option 67, file, next-server) from {giver.server}.",
        )
    ]


def _main_server_binl(kinds: _Kinds, client: str) -> tuple[tuple[Choice, ...], list[Finding]]:
    winner = kinds.dhcp_binl[0]
    asked = winner.next_server or winner.server
    text = (
        f"the DHCP server {winner.server} sends option 60 PXEClient without PXE options (43):"
        f" {client} takes it for a boot server and asks {asked} on port 4011"
    )
    choice = Choice(Step.ASK, asked, winner.boot_file, winner)
    proxies = _servers(kinds.proxies, winner)
    if not proxies:
        return (choice,), [Finding(Level.OK, "boot", text)]
    finding = Finding(
        Level.ERROR,
        "boot",
        f"{text}, whatever {listed(proxies)} offers",
        f"Remove option 60 from the DHCP server {winner.server}.",
    )
    return (choice,), [finding]


def _proxy_binl(kinds: _Kinds, client: str) -> tuple[tuple[Choice, ...], list[Finding]]:
    giver = kinds.dhcp_only[0]
    choices = tuple(
        Choice(Step.ASK, one.next_server or one.server, "", one) for one in kinds.proxy_binl
    )
    asked = list(dict.fromkeys(one.server for one in choices))
    then = f" (then {listed(asked[1:])})" if asked[1:] else ""
    finding = Finding(
        Level.WARNING if then else Level.OK,
        "boot",
        f"{client} takes its address from {giver.server} and asks {asked[0]}{then} for a boot"
        " file on port 4011 (BINL)",
        "Leave one proxyDHCP server on this segment." if then else "",
    )
    return choices, [finding, *_file_beside(giver, client, kinds.proxy_binl[0])]


def _no_pxe(kinds: _Kinds, client: str) -> tuple[tuple[Choice, ...], list[Finding]]:
    if not kinds.givers:
        return (), [no_address([*kinds.proxies, *kinds.useless], client)]
    winner = next((one for one in kinds.dhcp_only if one.boot_file), None)
    if winner is None:
        return (), [no_boot(kinds.givers, client)]
    finding = Finding(
        Level.WARNING,
        "boot",
        f"{client} loads what the DHCP server {winner.server} names ({winner.boot_file}); no"
        " proxyDHCP server answers",
        "Is 'bootserve serve' running on this segment, and is this MAC a node's? Then remove the"
        f" boot file from {winner.server}.",
    )
    return _load(winner), [finding]


def _load(offer: Offer) -> tuple[Choice, ...]:
    if not offer.boot_file:
        return ()
    return (Choice(Step.LOAD, offer.file_server, offer.boot_file, offer),)


def judge_pxe_ack(firmware: Firmware, ack: Offer) -> Judgement:
    """Return what PXE firmware makes of the answer to its REQUEST on port 4011."""
    if not ack.boot_file:
        finding = Finding(
            Level.ERROR,
            "boot",
            f"{ack.server} answers on port 4011 and names no boot file",
            f"Look into the log of the server at {ack.server}.",
        )
        return Judgement((), (finding,))
    choice = Choice(Step.LOAD, ack.file_server, ack.boot_file, ack)
    findings = [Finding(Level.OK, "boot", f"{ack.server} answers on port 4011")]
    return Judgement((choice,), tuple(findings + _load_findings(firmware, choice)))


def _load_findings(firmware: Firmware, choice: Choice) -> list[Finding]:
    offer, findings = choice.offer, []
    if offer.has_menu and not offer.is_boot_file_only:
        findings.append(
            Finding(
                Level.WARNING,
                "boot",
                f"{offer.server} sends a boot menu (43.9): somebody has to choose, or its time"
                " runs out",
                "For machines without an operator, let it send 43.6 = 8 and a boot file.",
            )
        )
    if firmware is Firmware.BIOS and not offer.packet.file:
        findings.append(
            Finding(
                Level.WARNING,
                "boot",
                f"{offer.server} names the boot file in option 67 alone: some ROMs read only the"
                " header's field",
                f"Make the server at {offer.server} write the name into both.",
            )
        )
    wrong = file_finding(firmware, choice.file)
    return [*findings, *([wrong] if wrong else [])]


def _servers(offers: Sequence[Offer], winner: Offer) -> list[str]:
    """Return the servers of ``offers`` that are another than the winner's, each once."""
    return list(dict.fromkeys(one.server for one in offers if one.server != winner.server))


def _count(names: Sequence[str]) -> str:
    return {2: "two", 3: "three"}.get(len(names), str(len(names)))
