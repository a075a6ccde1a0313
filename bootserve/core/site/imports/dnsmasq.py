"""dnsmasq's ``dhcp-host`` lines (dnsmasq(8), --dhcp-host), in a configuration or a hosts file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from bootserve.core.site.imports.draft import Draft, Where, parse_address
from bootserve.errors import InvalidInput
from bootserve.model.names import Mac

__all__ = ["read_dnsmasq"]

_OPTION = re.compile(r"\s*(?:--)?dhcp-host\s*[=\s]\s*(.*)")
_OTHER = re.compile(r"\s*(?:--)?[a-z][a-z0-9-]*\s*(=|$)")
_TYPED = re.compile(r"([0-9a-fA-F]{1,2})-((?:[0-9a-fA-F*]{1,2}:){5}[0-9a-fA-F*]{1,2})")
_LIKE_MAC = re.compile(r"[0-9a-fA-F*]{1,2}([:-][0-9a-fA-F*]{1,2}){5}")
_LEASE = re.compile(r"infinite|\d+[smhdw]?")
_ETHERNET = 1


@dataclass(slots=True)
class _Host:
    macs: list[Mac] = field(default_factory=list)
    name: str = ""
    address: str = ""
    tags: list[str] = field(default_factory=list)
    ignored: bool = False


def read_dnsmasq(draft: Draft, text: str, file: str) -> None:
    """Add the hosts of ``file`` to ``draft``: lines ``dhcp-host=…``, or without that in a file of
    ``dhcp-hostsfile``.

    The address becomes the label ``address``, tags become labels ``tag``, ``tag-2``, …
    """
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in text.splitlines()]
    whole = any(_OPTION.match(line) for line in lines)
    for number, line in enumerate(lines, 1):
        option = _OPTION.match(line)
        if not line.strip() or (whole and option is None):
            continue
        where = Where(file, number)
        if option is None and _OTHER.match(line) and "," not in line:
            draft.note(where, "this is no host: left out")
            continue
        _read_host(draft, where, option[1] if option else line)


def _read_host(draft: Draft, where: Where, text: str) -> None:
    host = _Host()
    for part in (one.strip().strip('"') for one in text.split(",")):
        if part:
            _take(draft, where, host, part)
    if host.ignored:
        draft.note(where, "dnsmasq ignores this host: left out")
        return
    if not host.macs:
        draft.note(where, "this host is known by no MAC address: left out")
        return
    if not host.name:
        host.name = _made_name(host)
        draft.note(where, f"this host has no name: it is called {host.name}")
    labels = {f"tag-{n}" if n > 1 else "tag": tag for n, tag in enumerate(host.tags, 1)}
    addresses = [host.address] * len(host.macs) if host.address else []
    draft.add(where, host.name, host.macs, addresses=addresses, labels=labels)


def _made_name(host: _Host) -> str:
    if host.address:
        return f"ip-{host.address.replace('.', '-')}"
    return f"mac-{host.macs[0].replace(':', '')}"


def _take(draft: Draft, where: Where, host: _Host, part: str) -> None:
    """Take one of the parts of a host line, which may stand in any order."""
    kind, _, value = part.partition(":")
    typed = _TYPED.fullmatch(part)
    if part == "ignore":
        host.ignored = True
    elif kind in ("set", "net") and value:
        host.tags.append(value)
    elif kind in ("tag", "id") and (value or kind == "id"):
        what = "is for clients with a tag" if kind == "tag" else "goes by a client id"
        draft.note(where, f"{part}: it {what}, which is not carried over")
    elif typed or _LIKE_MAC.fullmatch(part):
        _take_mac(draft, where, host, part)
    elif part.startswith("["):
        draft.note(where, f"{part}: IPv6 addresses are not carried over")
    elif _is(parse_address, part):
        host.address = parse_address(part)
    elif _LEASE.fullmatch(part) and (host.macs or host.name or host.address):
        draft.note(where, f"lease time {part} is not carried over: it is the DHCP server's")
    else:
        host.name = part


def _take_mac(draft: Draft, where: Where, host: _Host, part: str) -> None:
    typed = _TYPED.fullmatch(part)
    if "*" in part:
        draft.note(where, f"{part}: a wildcard stands for no one machine: left out")
    elif typed and int(typed[1], 16) != _ETHERNET:
        draft.note(where, f"{part}: not an Ethernet address: left out")
    else:
        host.macs += draft.macs(where, [typed[2] if typed else part])


def _is(check: Callable[[str], object], text: str) -> bool:
    try:
        check(text)
    except InvalidInput:
        return False
    return True
