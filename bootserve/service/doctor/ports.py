"""The ports that a server needs, who has them, and whether a firewall lets clients through."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bootserve.core.nft_rules import Fate, Incoming, judge_ruleset
from bootserve.model.finding import Finding
from bootserve.service.doctor.checkup import Checkup, error, ok, warning
from bootserve.service.sockets import BoundSocket, Owner, bound_sockets, family_of, owners

__all__ = ["check_firewall", "check_ports"]

LOOPBACK = "127.0.0.1"
NFT_SECONDS = 20
FREE_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
LEGACY_TABLES = Path("/proc/net/ip_tables_names")


@dataclass(frozen=True, slots=True)
class _Port:
    """A port that the server opens. ``address`` is empty for any; ``place`` tells equal ones."""

    what: str
    protocol: Literal["udp", "tcp"]
    number: int
    interface: str = ""
    address: str = ""
    place: str = ""

    def __str__(self) -> str:
        return f"{self.protocol.upper()} {self.number} ({self.what}){self.place}"


def _ports(checkup: Checkup) -> Iterator[_Port]:
    settings = checkup.settings
    for name, address in checkup.interfaces.items():
        place = f" of {name}" if len(checkup.interfaces) > 1 else ""
        yield _Port("DHCP", "udp", 67, name, place=place)
        yield _Port("PXE boot server", "udp", 4011, name, place=place)
        yield _Port("TFTP", "udp", settings.tftp_port, name, address, place)
        yield _Port("boot plane HTTP", "tcp", settings.http_port, name, address, place)
    if settings.admin_port:
        yield _Port("admin API", "tcp", settings.admin_port, address=LOOPBACK)


def check_ports(checkup: Checkup) -> Iterator[Finding]:
    """Look who has the ports: the server that runs, nobody, or somebody else."""
    sockets = bound_sockets()
    holders = owners(sockets)
    family = family_of(checkup.server.pid) if checkup.server.pid else set()
    for port in _ports(checkup):
        there = [one for one in sockets if _overlaps(one, port)]
        held = {owner: None for one in there for owner in holders.get(one.inode, ())}
        unseen = any(one.inode not in holders for one in there)
        if family:
            yield _of_running(port, list(held), family, unseen=unseen)
        elif not there or (port.interface and _may_bind(port)):
            yield ok("ports", f"{port} is free")
        else:
            who = _listed(held) or "another user's process"
            stop = f"Stop it, or give bootserve another port ({_setting(port)})."
            yield error("ports", f"{port} is taken by {who}", stop)


def _listed(held: Iterable[Owner]) -> str:
    return ", ".join(map(str, held))


def _overlaps(one: BoundSocket, port: _Port) -> bool:
    if (one.protocol, one.port) != (port.protocol, port.number):
        return False
    return one.is_any or not port.address or one.address == port.address


def _of_running(port: _Port, held: list[Owner], family: set[int], *, unseen: bool) -> Finding:
    ours = [one for one in held if one.pid in family]
    if ours:
        return ok("ports", f"{port} is open: {_listed(ours)}")
    if unseen:  # as another user than root, whose socket it is cannot be told
        return ok("ports", f"{port} is open")
    found = f"{port} is not open in the running server"
    found += f"; {_listed(held)} has it" if held else ""
    return error("ports", found, "See the server's log, and restart it.")


def _may_bind(port: _Port) -> bool:
    """Whether the port can be had on its interface all the same: another's may be bound elsewhere.

    False when this user has not the right to find out.
    """
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as trial:
        try:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, port.interface.encode())
            trial.bind((port.address, port.number))
        except OSError as failed:
            return failed.errno == errno.EADDRNOTAVAIL
    return True


def _setting(port: _Port) -> str:
    settings = {
        "TFTP": "--tftp-port",
        "boot plane HTTP": "--http-port",
        "admin API": "--admin-port",
    }
    return settings.get(port.what, "DHCP has none: serve on another interface")


def check_firewall(checkup: Checkup) -> Iterator[Finding]:
    """Look whether nftables drops what clients send to the ports."""
    if _has_legacy_tables():
        yield warning(
            "firewall",
            "there are rules of the old iptables, which are not looked at here",
            "See 'iptables-legacy-save'; UDP 67, 69 and 4011 and the HTTP port must pass.",
        )
    ruleset = _ruleset()
    if isinstance(ruleset, Finding):
        yield ruleset
        return
    arriving = [*_first_packets(checkup), *_answers(checkup)]
    bad = [found for one in arriving if (found := _judged(*one, ruleset))]
    yield from bad
    if not bad:
        yield ok("firewall", "nftables lets clients reach every port")


def _has_legacy_tables() -> bool:
    try:
        return bool(LEGACY_TABLES.read_text().strip())
    except OSError:
        return False  # there are none, or this user may not see them, nor those of nft


def _ruleset() -> dict[str, Any] | Finding:
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if nft is None:
        return ok("firewall", "nft is not installed, so no nftables rules were made with it")
    done = subprocess.run(
        [nft, "-j", "list", "ruleset"], capture_output=True, text=True, timeout=NFT_SECONDS
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it failed"])[0]
        return warning("firewall", f"nft cannot list the rules: {said}", "Run this as root.")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _first_packets(checkup: Checkup) -> Iterator[tuple[Incoming, str, str]]:
    """Return what clients send to each port, what it is, and the match of a rule for it."""
    for port in _ports(checkup):
        interface = port.interface or "lo"
        packet = Incoming(interface, port.protocol, port.number)
        yield packet, str(port), f"{port.protocol} dport {port.number}"


def _answers(checkup: Checkup) -> Iterator[tuple[Incoming, str, str]]:
    """Return the same of what comes back to a TFTP transfer, at a port that the kernel gave."""
    first, last = FREE_PORTS.read_text().split()
    for name in checkup.interfaces:
        packet = Incoming(name, "udp", int(first), "established")
        what = f"what nodes answer to a TFTP transfer (UDP {first} to {last})"
        yield packet, what, "ct state established"


def _judged(packet: Incoming, what: str, match: str, ruleset: dict[str, Any]) -> Finding | None:
    verdict = judge_ruleset(ruleset, packet)
    if verdict.fate is Fate.DROPPED:
        found = f"nftables drops {what} on {packet.interface}: {verdict.where}"
        action = f"Add a rule before it: iifname {packet.interface} {match} accept."
        return error("firewall", found, action)
    if verdict.fate is Fate.UNCERTAIN:
        found = f"whether nftables lets {what} in on {packet.interface} depends on {verdict.where}"
        return warning("firewall", found, "Look at that rule: nft -a list ruleset.")
    return None
