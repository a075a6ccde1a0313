"""The phases of a boot as they happen: from the console, and from bootserve's own record."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from vm_harness.errors import BootFailed, HarnessError
from vm_harness.vm import Vm

__all__ = ["BootPhases", "ConsolePhases", "PhaseSource", "SeenPhase", "follow"]


@dataclass(frozen=True, slots=True)
class SeenPhase:
    """A phase: its name, seconds since power-on, who saw it, and what was said of it."""

    name: str
    after: float
    source: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.after:7.2f} s  {self.name:<10} {self.source:<8} {self.detail}".rstrip()


class PhaseSource(Protocol):
    """Where phases come from."""

    def poll(self) -> list[SeenPhase]:
        """Return the phases seen since the last call, without waiting."""
        ...


# Most end where the line does: a marker that is only half there yet is left for the next look.
_MARKERS: tuple[tuple[str, str], ...] = (
    ("firmware", r"SeaBIOS \(version [^)]*\)|BdsDxe: |>>Start (?:PXE|HTTP)"),
    ("pxe", r">>Start (?:PXE|HTTP)[^\n.]*IPv4"),
    ("ipxe", r"iPXE \d[^\n]* -- Open Source Network Boot Firmware"),
    ("address", r"(?:net\d: |Station IP address is )[\d.]{7,}(?=[\s/])"),
    ("script", r"bootserve: node [^\n]*(?=\n)"),
    ("unknown", r"bootserve: this machine is not known"),
    ("kernel", r"Linux version [^ \n]+(?= )"),
    (
        "initramfs",
        r"^(?:\[[ .\d]+\] )?bootserve: (?!node|fetching|this machine|attempt)[^\n]*(?=\n)",
    ),
    ("userspace", r"systemd\[1\]: (?:systemd [^ \n]+ running|Detected)|Welcome to [^\n]+(?=\n)"),
    ("login", r"^\S+ login: |^root@[\w.-]+:"),
    ("panic", r"Kernel panic - [^\n]*(?=\n)"),
    ("no-boot", r"No bootable device|(?:Nothing to boot|BdsDxe: failed to )[^\n]*(?=\n)"),
)


class ConsolePhases:
    """The first appearance of each marker on a VM's console since its power-on."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._left = {name: re.compile(pattern, re.MULTILINE) for name, pattern in _MARKERS}

    def poll(self) -> list[SeenPhase]:
        """Return the phases seen since the last call, in the order of their appearance."""
        console = self._vm.console
        text = console.text
        seen = []
        for name, pattern in list(self._left.items()):
            if match := pattern.search(text):
                del self._left[name]
                after = console.time_at(match.start()) - self._vm.started_monotonic
                seen.append(SeenPhase(name, after, "console", match[0].strip()))
        return sorted(seen, key=lambda phase: phase.after)


class BootPhases:
    """What bootserve recorded of a node's boot: its admin API, over the Unix socket.

    ``since`` (seconds since the epoch) is when the VM was started; older boots are left out. A
    server that is away, as in a test of that, has nothing new to say.
    """

    def __init__(self, socket_path: Path, node: str, since: float) -> None:
        self._socket = socket_path
        self._node = node
        self._since = since
        self._seen: set[tuple[str, str, float]] = set()

    def poll(self) -> list[SeenPhase]:
        """Return the phases recorded since the last call, oldest first."""
        try:
            boots = _get(self._socket, f"/api/v1/boots?node={quote(self._node)}&limit=5")["boots"]
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return []
        found = [seen for boot in boots if boot["at"] >= self._since for seen in self._new(boot)]
        return sorted(found, key=lambda phase: phase.after)

    def _new(self, boot: dict[str, Any]) -> Iterator[SeenPhase]:
        for phase in boot["phases"]:
            key = (boot["id"], phase["phase"], phase["at"])
            if key not in self._seen:
                self._seen.add(key)
                detail = phase["detail"] or (
                    boot["generation"] if phase["phase"] == "script" else ""
                )
                yield SeenPhase(phase["phase"], phase["at"] - self._since, "server", detail)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _get(socket_path: Path, target: str) -> Any:
    connection = _UnixConnection(socket_path)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ValueError(f"{target}: HTTP status {response.status}")
        return json.loads(body)
    finally:
        connection.close()


def follow(
    vm: Vm,
    sources: Sequence[PhaseSource],
    *,
    until: Collection[str],
    timeout: float,
    pause: float = 0.2,
) -> Iterator[SeenPhase]:
    """Yield phases as they are seen, up to and with the first of ``until``.

    A node that reports ``failed`` tries again or reboots, so that is no end. Raises BootFailed when
    the VM goes off or panics, HarnessError after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        running = vm.running
        for source in sources:
            for phase in source.poll():
                yield phase
                if phase.name in until:
                    return
                if phase.name == "panic":
                    raise BootFailed(f"{vm.name}: {phase.detail or phase.name}")
        if not running:
            raise BootFailed(f"{vm.name} went off")
        if time.monotonic() > deadline:
            raise HarnessError(f"{vm.name}: no {' or '.join(until)} within {timeout:g} s")
        time.sleep(pause)
