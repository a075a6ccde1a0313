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

__all__ = ["Corruptor"]

_TABLE = "vmh_relay"
_ROUTES = "7668"
_RULES = f"""
table ip {_TABLE} {{
    chain nodes {{
        type nat hook prerouting priority dstnat
    }}
    chain replies {{
        type route hook output priority mangle
        meta mark {MARK:#x} ct mark set {MARK:#x}
        ct mark {MARK:#x} meta mark set {MARK:#x}
    }}
}}
"""


class Corruptor:
    """The relay of a lab; a context manager that ends it.

    While a rule is set, new connections from ``interface`` to ``port`` pass through the relay;
    without one they go straight to the server.
    """

    def __init__(
        self, namespace: Namespace, *, interface: str, address: str, port: int, log: Path
    ) -> None:
        self._namespace = namespace
        self._interface = interface
        self._port = port
        self._changed = threading.Condition()
        self._said: list[dict[str, Any]] = []
        module = [sys.executable, "-m", "vm_harness.relay", "0", address, str(port)]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                namespace.command(module),
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
            self._route_marked()
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

    def _route_marked(self) -> None:
        """Bring the server's replies to the relay, though they are addressed to the nodes."""
        self._namespace.ip("rule", "add", "fwmark", hex(MARK), "lookup", _ROUTES)
        self._namespace.ip("route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", _ROUTES)
        self._nft(_RULES)

    def _nft(self, text: str) -> None:
        self._namespace.run(["nft", "-f", "-"], input=text)

    def set(self, rule: Rule) -> None:
        """Damage as ``rule`` says, in place of any rule before it."""
        self._tell(asdict(rule))
        self._nft(
            f"flush chain ip {_TABLE} nodes\n"
            f"add rule ip {_TABLE} nodes iifname {self._interface}"
            f" tcp dport {self._port} redirect to :{self._relay_port}"
        )

    def off(self) -> None:
        """Damage nothing; connections that pass through the relay stay open."""
        self._nft(f"flush chain ip {_TABLE} nodes")
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
        if self._namespace.exists:
            self._nft(f"table ip {_TABLE}\ndelete table ip {_TABLE}")
            self._namespace.run(["sh", "-c", _UNROUTE])
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self._thread.join(10)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def __enter__(self) -> Corruptor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_UNROUTE = f"ip rule del fwmark {MARK:#x} lookup {_ROUTES}; ip route flush table {_ROUTES}"
