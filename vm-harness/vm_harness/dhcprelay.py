"""A DHCP relay: the router of a network on which neither the DHCP server nor bootserve is."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from vm_harness.errors import HarnessError
from vm_harness.net import Namespace
from vm_harness.topology import HOME, RELAYED

__all__ = ["DhcpRelay", "RelayProgram"]

RelayProgram = Literal["isc", "dnsmasq"]


class DhcpRelay:
    """Relays from the network RELAYED to ``servers`` on HOME, in ``namespace``, which is on both.

    ``program`` is isc-dhcp-relay, which adds option 82, or dnsmasq. Beside isc-dhcp-relay runs a
    dnsmasq that answers router solicitations: iPXE from 2019 waits 16 s otherwise.
    """

    def __init__(
        self,
        namespace: Namespace,
        servers: Sequence[str],
        directory: Path,
        program: RelayProgram = "isc",
    ) -> None:
        if program not in get_args(RelayProgram):
            raise HarnessError(f"relay {program!r} is none of {get_args(RelayProgram)}")
        self.namespace = namespace
        self.log = directory / "dhcp-relay.log"
        self._servers = list(servers)
        self._program = program
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start it and wait until it listens; raises HarnessError."""
        if self._program == "isc":
            commands = [self._dhcrelay(), self._dnsmasq()]
        else:
            relays = [f"--dhcp-relay={RELAYED.address(1)},{server}" for server in self._servers]
            commands = [self._dnsmasq(*relays)]
        with self.log.open("ab") as log:
            self._processes = [self.namespace.spawn(command, log=log) for command in commands]
        deadline = time.monotonic() + 10
        while not self.namespace.run(["ss", "-lunH", "sport = :67"]).strip():
            if time.monotonic() > deadline or any(
                one.poll() is not None for one in self._processes
            ):
                raise HarnessError(f"the relay did not come up: {self.log.read_text().strip()}")
            time.sleep(0.02)

    def wait(self) -> None:
        """Wait for the end of the processes that start() made, once they have been told to end."""
        for process in self._processes:
            process.wait(10)

    def _dhcrelay(self) -> list[str]:
        nodes, servers = RELAYED.interface, HOME.interface
        return [
            *("dhcrelay", "-4", "-d", "--no-pid", "-a", "-m", "discard"),
            *("-id", nodes, "-iu", servers, *self._servers),
        ]

    def _dnsmasq(self, *relays: str) -> list[str]:
        return [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root"),
            *("--pid-file=", "--port=0", "--no-resolv", "--no-hosts", "--log-facility=-"),
            *("--enable-ra", f"--dhcp-range=::,constructor:{RELAYED.interface},ra-only"),
            *("--log-dhcp", *relays),
        ]
