"""How UEFI HTTP boot chooses among offers (EDK2's ``NetworkPkg/HttpBootDxe/HttpBootDhcp4.c``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import Final
from urllib.parse import urlsplit

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

__all__ = ["judge_http"]


def _is_dhcp(offer: Offer) -> bool:
    return bool(offer.address)


def _has_url(offer: Offer) -> bool:
    return offer.is_http and _host(offer) != ""


def _host(offer: Offer) -> str:
    try:
        url = urlsplit(offer.boot_file)
        return (url.hostname or "") if url.scheme in ("http", "https") else ""
    except ValueError:
        return ""


def _by_address(offer: Offer) -> bool:
    try:
        IPv4Address(_host(offer))
    except ValueError:
        return False
    return True


def _only(offer: Offer) -> bool:
    return _is_dhcp(offer) and not offer.is_http


Test = Callable[[Offer], bool]
_ORDER: Final[Sequence[tuple[Test, Test]]] = (
    # who gives the address, who gives the URL: the same offer where the first test is _has_url
    (_has_url, lambda url: _by_address(url) and _is_dhcp(url)),
    (_has_url, lambda url: url.has_dns and _is_dhcp(url)),
    (_only, lambda url: _by_address(url) and not _is_dhcp(url)),
    (lambda one: _only(one) and one.has_dns, lambda url: not _is_dhcp(url)),
    (lambda one: _only(one) and one.has_dns, _is_dhcp),
)


def judge_http(offers: Sequence[Offer]) -> Judgement:
    """Return what EDK2's HTTP boot makes of ``offers``, which are in the order of their arrival."""
    client = Firmware.HTTP.client
    kept, findings = heard(offers, client)
    findings += [_unusable(one, client) for one in kept if _is_unusable(one)]
    findings += dhcp_servers(kept, client)
    found = _select(kept)
    if found is None:
        return Judgement((), (*findings, _nothing(kept, client)))
    giver, winner = found
    findings.append(_said(giver, winner, kept, client))
    wrong = file_finding(Firmware.HTTP, winner.boot_file)
    if wrong:
        findings.append(wrong)
    return Judgement((Choice(Step.LOAD, _host(winner), winner.boot_file, winner),), tuple(findings))


def _select(offers: Sequence[Offer]) -> tuple[Offer, Offer] | None:
    urls = [one for one in offers if _has_url(one)]
    for gives, has_url in _ORDER:
        winner = next((one for one in urls if has_url(one)), None)
        giver = winner if gives is _has_url else next((one for one in offers if gives(one)), None)
        if winner and giver:
            return giver, winner
    return None


def _is_unusable(offer: Offer) -> bool:
    return not _has_url(offer) and (offer.is_http or not _is_dhcp(offer))


def _unusable(offer: Offer, client: str) -> Finding:
    if not offer.is_http:
        what = "is for PXE (option 60 is not HTTPClient)"
    else:
        what = f"names no URL (option 67 is {offer.boot_file!r})"
    return Finding(
        Level.WARNING,
        "offers",
        f"{client} ignores the offer of {offer.server}: it {what}",
        f"Make the server at {offer.server} send HTTP clients option 60 HTTPClient and a URL.",
    )


def _said(giver: Offer, winner: Offer, offers: Sequence[Offer], client: str) -> Finding:
    others = {one.server for one in offers if _has_url(one)} - {winner.server}
    text = (
        f"{client} takes its address from {giver.server} and loads {winner.boot_file}, which"
        f" {winner.server} names"
    )
    if not others:
        return Finding(Level.OK, "boot", text)
    return Finding(
        Level.WARNING,
        "boot",
        f"{text}; {listed(sorted(others))} names another URL",
        "Leave one server that answers HTTP clients on this segment.",
    )


def _nothing(offers: Sequence[Offer], client: str) -> Finding:
    givers = [one for one in offers if _is_dhcp(one)]
    if not givers:
        return no_address(offers, client)
    named = [one for one in offers if _has_url(one) and not _by_address(one)]
    if named:
        return Finding(
            Level.ERROR,
            "boot",
            f"{named[0].server} names {named[0].boot_file}, and no DHCP server says which DNS"
            f" server knows {_host(named[0])}",
            "Write an address into the URL, or let the DHCP server send option 6.",
        )
    return no_boot(givers, client)
