"""The datacenter's ordinary DHCP server: dnsmasq, which gives addresses and nothing else."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from vm_harness.errors import HarnessError
from vm_harness.net import Namespace

__all__ = ["DhcpServer", "Lease"]

BOOT_OPTIONS = frozenset({43, 60, 66, 67, 97, 175})
_SENT = re.compile(r"sent size: *\d+ option: *(\d+) ")


@dataclass(frozen=True, slots=True)
class Lease:
    """One line of the lease file. ``expires`` is seconds since the epoch."""

    expires: int
    mac: str
    address: str
    hostname: str
    client_id: str


class DhcpServer:
    """dnsmasq on ``interface`` of ``namespace``, with its log and leases in ``directory``.

    ``name`` tells its files from those of another there. ``relayed`` is a network behind a relay,
    which is its router: its first and last address, its netmask and that router.
    It also answers router solicitations: iPXE from 2019 waits 16 s for an IPv6 address otherwise.
    """

    def __init__(
        self,
        namespace: Namespace,
        interface: str,
        directory: Path,
        *,
        name: str = "dnsmasq",
        relayed: tuple[str, str, str, str] | None = None,
    ) -> None:
        self.namespace = namespace
        self.interface = interface
        self.log = directory / f"{name}.log"
        self._lease_file = directory / f"{name}.leases"
        self._output = directory / f"{name}.output"
        self._relayed = relayed
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, first: str, last: str, netmask: str) -> None:
        """Start it and wait until it serves ``first`` to ``last``; raises HarnessError."""
        with self._output.open("wb") as output:
            self._process = self.namespace.spawn(self._command(first, last, netmask), log=output)
        deadline = time.monotonic() + 10
        while "sockets bound exclusively" not in self.log_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._output.read_text() + self.log_text()
                raise HarnessError(f"dnsmasq did not come up: {said.strip()}")
            time.sleep(0.01)

    def wait(self) -> None:
        """Wait for the end of the process that start() made, once it has been told to end."""
        if self._process is not None:
            self._process.wait(10)

    def _command(self, first: str, last: str, netmask: str) -> list[str]:
        return [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root"),
            *("--pid-file=", "--port=0", "--no-resolv", "--no-hosts", "--bind-interfaces"),
            *(f"--interface={self.interface}", "--dhcp-authoritative", "--no-ping"),
            f"--dhcp-range={first},{last},{netmask},1h",
            *self._behind_relay(),
            *("--enable-ra", f"--dhcp-range=::,constructor:{self.interface},ra-only"),
            *("--log-dhcp", f"--log-facility={self.log}", f"--dhcp-leasefile={self._lease_file}"),
        ]

    def _behind_relay(self) -> list[str]:
        if self._relayed is None:
            return []
        first, last, netmask, router = self._relayed
        return [
            f"--dhcp-range=set:relayed,{first},{last},{netmask},1h",
            f"--dhcp-option=tag:relayed,option:router,{router}",
        ]

    def log_text(self) -> str:
        """Return its log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def leases(self) -> list[Lease]:
        """Return the IPv4 leases it holds."""
        if not self._lease_file.exists():
            return []
        rows = [line.split() for line in self._lease_file.read_text().splitlines()]
        return [Lease(int(row[0]), *row[1:5]) for row in rows if len(row) == 5 and row[1] != "duid"]

    def options_sent(self) -> set[int]:
        """Return every DHCP option code that it has put into a reply, from its own log."""
        return {int(code) for code in _SENT.findall(self.log_text())}

    def gave_only_addresses(self) -> bool:
        """Return whether its log shows replies, and no boot option or boot file in any of them."""
        text = self.log_text()
        sent = self.options_sent()
        return bool(sent) and not sent & BOOT_OPTIONS and "bootfile name" not in text
