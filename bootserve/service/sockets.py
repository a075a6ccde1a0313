"""Who has which port open in this network namespace, from /proc (proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal

__all__ = ["BoundSocket", "Owner", "bound_sockets", "family_of", "owners"]

Protocol = Literal["udp", "tcp"]
LISTENING = "0A"


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """A UDP socket that is bound, or a TCP socket that listens.

    ``address`` is ``0.0.0.0`` or ``::`` when it takes what comes to any.
    """

    protocol: Protocol
    address: str
    port: int
    inode: int

    @property
    def is_any(self) -> bool:
        """Whether it is bound to no address of its own."""
        return self.address in ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that has a socket open."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def bound_sockets(proc: Path = Path("/proc")) -> list[BoundSocket]:
    """Return every UDP socket that is bound and every TCP socket that listens; needs no root."""
    found: list[BoundSocket] = []
    for protocol in ("udp", "udp6", "tcp", "tcp6"):
        with contextlib.suppress(OSError):
            lines = (proc / "net" / protocol).read_text().splitlines()[1:]
            found += _parsed("udp" if protocol.startswith("udp") else "tcp", lines)
    return found


def _parsed(protocol: Protocol, lines: Iterable[str]) -> Iterator[BoundSocket]:
    for line in lines:
        words = line.split()
        if len(words) < 10 or (protocol == "tcp" and words[3] != LISTENING):
            continue
        address, _, port = words[1].rpartition(":")
        yield BoundSocket(protocol, _address(address), int(port, 16), int(words[9]))


def _address(text: str) -> str:
    """Return an address that the kernel printed as 32-bit words in its own byte order."""
    raw = bytes.fromhex(text)
    packed = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    if len(packed) == 4:
        return str(IPv4Address(packed))
    return str(IPv6Address(packed))


def owners(
    sockets: Iterable[BoundSocket], proc: Path = Path("/proc")
) -> dict[int, tuple[Owner, ...]]:
    """Return, by inode, the processes that have ``sockets`` open.

    A process of another user cannot be looked into without root; its sockets are missing then.
    """
    wanted = {f"socket:[{one.inode}]": one.inode for one in sockets}
    found: dict[int, tuple[Owner, ...]] = {}
    for pid in filter(str.isdigit, os.listdir(proc)) if wanted else ():
        for inode in (wanted[name] for name in wanted.keys() & set(_open_files(proc / pid))):
            with contextlib.suppress(OSError):
                owner = Owner(int(pid), (proc / pid / "comm").read_text().strip())
                found[inode] = (*found.get(inode, ()), owner)
    return found


def family_of(pid: int, proc: Path = Path("/proc")) -> set[int]:
    """Return ``pid`` and the processes that it and its children have started."""
    parents: dict[int, int] = {}
    for entry in filter(str.isdigit, os.listdir(proc)):
        with contextlib.suppress(OSError):
            # The name before it is in parentheses and may hold any character.
            fields = (proc / entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry)] = int(fields[1])
    family = {pid}
    while more := {one for one, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _open_files(process: Path) -> Iterator[str]:
    try:
        numbers = os.listdir(process / "fd")
    except OSError:
        return
    for number in numbers:
        with contextlib.suppress(OSError):  # closed meanwhile
            yield os.readlink(process / "fd" / number)
