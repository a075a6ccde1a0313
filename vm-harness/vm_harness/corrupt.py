"""Damage on the wire between the nodes and bootserve, switched on and off while both run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from vm_harness.errors import HarnessError
from vm_harness.net import Namespace
from vm_harness.relay import MARK, Rule
from vm_harness.topology import INTERFACE, RELAY_ADDRESS, SERVER_ADDRESS, Topology

__all__ = ["Corruptor"]

_TABLE = "vmh_relay"
_ROUTES = "7668"
# The server's side. A node's new connection goes to the relay; the relay's own, known by its MAC
# address, is let through, and what the server answers to it goes back to the relay, though it is
# addressed to the node.
_SERVER_RULES = """
table ip {table} {{
    chain nodes {{
        type nat hook prerouting priority dstnat
    }}
    chain relayed {{
        type filter hook prerouting priority mangle
        ether saddr {mac} tcp dport {port} ct mark set {mark:#x}
    }}
    chain replies {{
        type route hook output priority mangle
        ct mark {mark:#x} meta mark set {mark:#x}
    }}
}}
"""
# The relay's side: the server's answers are for sockets that have the nodes' addresses.
_RELAY_RULES = """
table ip {table} {{
    chain answers {{
        type filter hook prerouting priority mangle
        tcp sport {port} meta mark set {mark:#x}
    }}
}}
"""
_FORWARD = """
cd /proc/sys/net/ipv4
for f in conf/*/send_redirects; do echo 0 >$f; done
echo {on} >ip_forward
"""


class Corruptor:
    """The relay of a lab, in a namespace of its own on the switch; a context manager.

    While a rule is set, new connections of nodes to bootserve's ``port`` pass through the relay;
    without one they go straight to the server. Either way bootserve sees them come in at its
    interface, to which its sockets are bound, from the node's address.
    """

    def __init__(self, network: Topology, *, port: int, log: Path) -> None:
        self._server = network.server
        self._port = port
        self._changed = threading.Condition()
        self._said: list[dict[str, Any]] = []
        self._relay = network.join("relay", f"{RELAY_ADDRESS}/32")
        module = [sys.executable, "-m", "vm_harness.relay", SERVER_ADDRESS, str(port)]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                self._relay.command(module),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._thread = threading.Thread(target=self._listen, name="relay", daemon=True)
        self._thread.start()
        try:
            self._relay_port = int(self._wait("listening")["listening"])
            self._route()
        except BaseException:
            self._end()
            raise

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._said.append(json.loads(line))
                self._changed.notify_all()

    def _wait(self, key: str, *, count: int = 1, timeout: float = 10) -> dict[str, Any]:
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._all(key)) >= count, timeout):
                raise HarnessError(f"the relay: no {key} (number {count}) within {timeout:g} s")
            return self._all(key)[count - 1]

    def _all(self, key: str) -> list[dict[str, Any]]:
        with self._changed:
            return [message for message in self._said if key in message]

    def _route(self) -> None:
        """Join relay and server, so that each connection passes both in both directions."""
        mark = hex(MARK)
        self._relay.ip("route", "add", SERVER_ADDRESS, "dev", INTERFACE)
        self._relay.ip("route", "add", "default", "via", SERVER_ADDRESS)
        self._relay.ip("rule", "add", "fwmark", mark, "lookup", _ROUTES)
        self._relay.ip("route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", _ROUTES)
        link = json.loads(self._relay.ip("-json", "link", "show", INTERFACE))
        words = {"table": _TABLE, "port": self._port, "mark": MARK, "mac": link[0]["address"]}
        self._nft(self._relay, _RELAY_RULES.format(**words))
        self._server.run(["sh", "-c", _FORWARD.format(on=1)])
        self._server.ip("route", "add", RELAY_ADDRESS, "dev", INTERFACE)
        self._server.ip("rule", "add", "fwmark", mark, "lookup", _ROUTES)
        self._server.ip("route", "add", "default", "via", RELAY_ADDRESS, "table", _ROUTES)
        self._nft(self._server, _SERVER_RULES.format(**words))
        self._mac = link[0]["address"]

    @staticmethod
    def _nft(namespace: Namespace, text: str) -> None:
        namespace.run(["nft", "-f", "-"], input=text)

    def set(self, rule: Rule) -> None:
        """Damage as ``rule`` says, in place of any rule before it."""
        self._tell(asdict(rule))
        self._nft(
            self._server,
            f"flush chain ip {_TABLE} nodes\n"
            f"add rule ip {_TABLE} nodes iifname {INTERFACE} ether saddr != {self._mac}"
            f" tcp dport {self._port} dnat to {RELAY_ADDRESS}:{self._relay_port}",
        )

    def off(self) -> None:
        """Damage nothing; connections that pass through the relay stay open."""
        self._nft(self._server, f"flush chain ip {_TABLE} nodes")
        self._tell(None)

    def _tell(self, rule: dict[str, Any] | None) -> None:
        before = len(self._all("rule"))
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(rule) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise HarnessError("the relay has ended") from None
        self._wait("rule", count=before + 1)

    @property
    def damaged(self) -> list[dict[str, Any]]:
        """Every response damaged so far: ``damaged`` (how), ``path`` and ``offset``."""
        return self._all("damaged")

    def wait_damage(self, *, count: int = 1, timeout: float) -> dict[str, Any]:
        """Wait for the ``count``-th damaged response; raises HarnessError after ``timeout`` s."""
        return self._wait("damaged", count=count, timeout=timeout)

    def close(self) -> None:
        """Take it all away."""
        if self._server.exists:
            self._nft(self._server, f"delete table ip {_TABLE}")
            self._server.ip("rule", "del", "fwmark", hex(MARK), "lookup", _ROUTES)
            self._server.ip("route", "flush", "table", _ROUTES)
            self._server.ip("route", "del", RELAY_ADDRESS, "dev", INTERFACE)
            self._server.run(["sh", "-c", _FORWARD.format(on=0)])
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self._thread.join(10)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._relay.remove()

    def __enter__(self) -> Corruptor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
