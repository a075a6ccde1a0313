"""Pairs of namespaces joined by a veth: a server's side and its clients' side."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from vm_harness.errors import HarnessError
from vm_harness.net import Namespace, end_processes, list_namespaces

from bench.native import arguments, parse

__all__ = ["CLIENT", "INTERFACE", "SERVER", "Pair", "sweep"]

SERVER = "10.44.0.2"
CLIENT = "10.44.0.50"
INTERFACE = "eth1"
UDP_CLIENTS, TCP_CLIENTS = "10.98.0.0/16", "10.99.0.0/24"
"""Behind a router, as far as a server can see, so that one machine may speak for all nodes."""
PREFIX = "bsb-"
Figures = dict[str, float | str]


class Pair:
    """Two namespaces joined by a veth pair with an MTU of 1500, named after their owner's pid.

    Every server gets a pair of its own, so that all can stand ready with the same ports and
    addresses, and whatever runs in ``server`` is the server's.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        stem = f"{PREFIX}{os.getpid()}-{name}"
        self.server = Namespace(f"{stem}-s")
        self.client = Namespace(f"{stem}-c")
        self.server_mac = ""

    def create(self) -> Pair:
        """Make it; raises HarnessError."""
        self.server.create()
        self.client.create()
        peer = ["peer", "name", INTERFACE, "mtu", "1500", "netns", self.client.name]
        self.server.ip("link", "add", INTERFACE, "mtu", "1500", "type", "veth", *peer)
        for namespace, address in ((self.server, SERVER), (self.client, CLIENT)):
            namespace.ip("address", "add", f"{address}/24", "brd", "+", "dev", INTERFACE)
            namespace.ip("link", "set", INTERFACE, "up")
        for clients in (UDP_CLIENTS, TCP_CLIENTS):
            self.server.ip("route", "add", clients, "via", CLIENT)
        # tftpload speaks for the one without the IP stack; the other is this machine's own
        self.client.ip("route", "add", "local", TCP_CLIENTS, "dev", "lo")
        self.server_mac = json.loads(self.server.ip("-j", "link", "show", INTERFACE))[0]["address"]
        return self

    def remove(self) -> None:
        """End everything in it and remove it."""
        end_processes([self.server, self.client])
        self.server.remove()
        self.client.remove()

    def drive(
        self, name: str, /, *, before: list[str], timeout: float, **values: object
    ) -> Figures:
        """Run a generator to its end and return what it printed; raises HarnessError.

        ``before`` is put before its command: ``taskset`` or ``chrt``.
        """
        argv = [*before, *arguments(name, {**self._server(name), **values})]
        return parse(name, self.client.run(argv, timeout=timeout))

    @contextlib.contextmanager
    def background(
        self, name: str, output: Path, /, *, before: list[str], **values: object
    ) -> Iterator[Figures]:
        """Run a generator during the block; afterwards what is yielded holds what it printed.

        Its output goes to ``output``. Raises HarnessError when it ended before the block did.
        """
        argv = [*before, *arguments(name, {**self._server(name), **values})]
        said: Figures = {}
        with output.open("wb") as log:
            process = self.client.spawn(argv, log=log)
        try:
            yield said
            if process.poll() is not None:
                raise HarnessError(f"{name} ended too early: {output.read_text()[-300:]}")
        finally:
            process.terminate()
            process.wait(30)
        said |= parse(name, output.read_text())

    def _server(self, name: str) -> dict[str, object]:
        return {"server-mac": self.server_mac} if name == "tftpload" else {}


def sweep() -> None:
    """Remove what a run that was killed has left standing."""
    for namespace in list_namespaces(PREFIX):
        owner = namespace.name.split("-")[1]
        if not Path(f"/proc/{owner}").exists():
            end_processes([namespace])
            namespace.remove()
