"""The addresses' side of a site, for the DHCP server that exists: Kea, dnsmasq or ISC dhcpd.

bootserve gives no addresses, so a node's are labels: ``address`` is the IPv4 address of its first
NIC, ``address-2`` of its second, and so on. A NIC without one is known by its name alone.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from bootserve.core.site.imports.draft import address_label, parse_address
from bootserve.core.site.writing import natural
from bootserve.errors import InvalidInput
from bootserve.model.desired import DesiredState
from bootserve.model.names import Mac

__all__ = ["Reservation", "parse_subnet", "reservations_of", "to_dnsmasq", "to_isc", "to_kea"]

_DNSMASQ_TAKEN = re.compile(r"ignore|infinite|\d+[smhdw]?")
"""Names that dnsmasq would take for a lease time or a command (dnsmasq(8), --dhcp-host)."""
_DOTTED = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Reservation:
    """One NIC: its node, which of the node's NICs it is (from 0), and its address or ''."""

    node: str
    place: int
    mac: Mac
    address: str


def reservations_of(state: DesiredState) -> list[Reservation]:
    """Return a reservation for each NIC, by node.

    Raises InvalidInput when an address is malformed or two nodes have the same.
    """
    found, owners, wrong = [], dict[str, str](), list[str]()
    for name in sorted(state.nodes, key=natural):
        node = state.nodes[name]
        labels = dict(node.labels)
        for place, mac in enumerate(node.macs):
            address = labels.get(address_label(place), "")
            if address and not _is_address(address):
                wrong.append(f"node {name}: label {address_label(place)} is {address!r}")
            elif address and owners.setdefault(address, name) != name:
                wrong.append(f"{address} belongs to node {owners[address]} and to node {name}")
            found.append(Reservation(name, place, mac, address))
    if wrong:
        more = f"; and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise InvalidInput(
            f"the addresses cannot be written: {'; '.join(wrong[:10])}{more}",
            hint="Correct the labels in the site file, or name all of the node's anew:"
            " bootserve node set NODE --label address=10.1.0.7 --label ….",
        )
    return found


def _is_address(text: str) -> bool:
    try:
        return parse_address(text) == text
    except InvalidInput:
        return False


def parse_subnet(text: str) -> IPv4Network:
    """Return a subnet written as ``10.1.0.0/24``; raises InvalidInput."""
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise InvalidInput(f"{text[:40]!r} is not a subnet: {error}") from None


def to_kea(found: Iterable[Reservation], subnets: Sequence[IPv4Network] = ()) -> str:
    """Return a configuration of Kea (2.2) that holds the reservations and nothing else.

    Those in one of ``subnets`` stand there, the others are global.
    """
    within: dict[IPv4Network | None, list[dict[str, str]]] = defaultdict(list)
    used: set[str] = set()
    unique = True
    for one in found:
        entry = {"hw-address": one.mac, "hostname": one.node}
        subnet = None
        if one.address:
            entry["ip-address"] = one.address
            unique = unique and one.address not in used
            used.add(one.address)
            subnet = next((net for net in subnets if IPv4Address(one.address) in net), None)
        within[subnet].append(entry)
    dhcp: dict[str, Any] = {"reservations-global": True, "reservations-in-subnet": True}
    if not unique:
        dhcp["ip-reservations-unique"] = False
    dhcp["reservations"] = within[None]
    dhcp["subnet4"] = [
        {"id": number, "subnet": str(subnet), "reservations": within[subnet]}
        for number, subnet in enumerate(subnets, 1)
    ]
    return json.dumps({"Dhcp4": dhcp}, indent=2) + "\n"


def to_dnsmasq(found: Iterable[Reservation]) -> str:
    """Return ``dhcp-host`` lines; NICs of a node that share an address share a line."""
    lines: dict[tuple[str, str], list[Mac]] = defaultdict(list)
    for one in found:
        lines[one.node, one.address].append(one.mac)
    texts = []
    for (node, address), macs in lines.items():
        parts = [*macs, *([address] if address else [])]
        if _DNSMASQ_TAKEN.fullmatch(node):
            texts.append(f"# {node}: without its name, which dnsmasq would take for a setting")
        else:
            parts.append(node)
        texts.append(f"dhcp-host={','.join(parts)}")
    return "".join(f"{text}\n" for text in texts)


def to_isc(found: Iterable[Reservation]) -> str:
    """Return ``host`` declarations of ISC dhcpd, one for each NIC."""
    return "".join(_host(one) for one in found)


def _host(one: Reservation) -> str:
    name = one.node
    if one.place or not _DOTTED.fullmatch(name):
        name = f"{name.replace('.', '_')}-{one.mac.replace(':', '')}"
    lines = [f"host {name} {{", f"  hardware ethernet {one.mac};"]
    if one.address:
        lines.append(f"  fixed-address {one.address};")
    lines += [f'  option host-name "{one.node}";', "}"]
    return "\n".join(lines) + "\n"
