"""The servers of one run: each started when it is first asked for, in a pair of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

from vm_harness.errors import HarnessError
from vm_harness.net import Namespace
from vm_harness.server import BootServer, default_command

from bench.fleet import add_artifact, mac_of, make_state
from bench.native import ROOT, arguments
from bench.network import INTERFACE, SERVER, Pair, sweep
from bench.peers import Peers, fetch

__all__ = ["ARTIFACT_BYTES", "NBP", "NBP_BYTES", "Server", "Servers"]

NBP = "ipxe.efi"
NBP_BYTES = 1_000_000
ARTIFACT_BYTES = 400_000_000
_BASE = Path("/var/tmp")
"""Not /tmp, which may be memory: a journal on a disk is what is measured."""
_FOLDER = "bootserve-bench-"
_LIMITS = ["sh", "-c", 'ulimit -n "$(ulimit -Hn)" && exec "$@"', "sh"]
"""As many open files as may be, for every server: dnsmasq has a socket for each transfer."""
_PORTS = {"tftp": 69, "dhcp": 67, "http": 8080}
SCRIPTS_PER_NODE = 1_000_000
"""A node's limit of boots, raised: a bench boots each node many times in a minute."""


@dataclass(slots=True)
class Server:
    """A running server; ``boot`` is bootserve's own handle when it is one."""

    name: str
    pair: Pair
    boot: BootServer | None = None

    @property
    def namespace(self) -> Namespace:
        """Where all of its processes are, and nothing else is."""
        return self.pair.server

    @property
    def bootserve(self) -> BootServer:
        """The handle of a bootserve; raises HarnessError for another server."""
        if self.boot is None:
            raise HarnessError(f"{self.name} is no bootserve")
        return self.boot


class Servers:
    """Starts servers by name and ends them all.

    ``bootserve N`` (nodes; ``bootserve N WORD`` is another of as many), ``dnsmasq tftp``,
    ``dnsmasq N`` (host lines), ``tftpd-hpa``, ``atftpd``, ``nginx``, ``responder WORDS`` (the
    arguments of ``bench/c/responder.c``) and ``limit MODULE`` (of ``bench/limits``).
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=_BASE))
        self.folder.chmod(0o755)
        self._running: dict[str, Server] = {}
        self._count = 0

    def __enter__(self) -> Servers:
        sweep()
        for left in _BASE.glob(f"{_FOLDER}*-*"):
            if not Path(f"/proc/{left.name.removeprefix(_FOLDER).partition('-')[0]}").exists():
                shutil.rmtree(left, ignore_errors=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in list(self._running):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    @cached_property
    def nbp(self) -> Path:
        """The NBP's file, alone in its folder."""
        path = self.folder / "nbp" / NBP
        path.parent.mkdir()
        path.write_bytes(os.urandom(NBP_BYTES))
        return path

    @cached_property
    def artifact(self) -> Path:
        """The artifact's file, in the store of ``bootserve 10000``."""
        self.get("bootserve 10000")
        return add_artifact(self.folder / "state-10000", ARTIFACT_BYTES)

    @cached_property
    def www(self) -> Path:
        """What nginx serves: the artifact, the very same file, and a node's script."""
        folder = self.folder / "www"
        folder.mkdir()
        os.link(self.artifact, folder / "artifact")
        pair = self.get("bootserve 10000").pair
        url = f"http://{SERVER}:8080/boot/{mac_of(0)}.ipxe"
        said = pair.client.run(["curl", "-sS", "-f", "--interface", "10.99.0.99", url])
        (folder / "script.ipxe").write_text(said)
        return folder

    @cached_property
    def _peers(self) -> Peers:
        return Peers(fetch(), self.folder)

    def get(self, name: str) -> Server:
        """Return the server of this name, started if it does not run yet; raises HarnessError."""
        if name not in self._running:
            self._running[name] = self._start(name)
        return self._running[name]

    def running(self, name: str) -> Server | None:
        """Return the server of this name if it runs."""
        return self._running.get(name)

    def stop(self, name: str) -> None:
        """End the server of this name and remove its pair."""
        server = self._running.pop(name)
        try:
            if server.boot is not None:
                server.boot.stop()
        finally:
            server.pair.remove()

    def _start(self, name: str) -> Server:
        kind, _, rest = name.partition(" ")
        command = None if kind == "bootserve" else self._command(kind, rest)
        self._count += 1
        server = Server(name, Pair(str(self._count)))
        try:
            server.pair.create()
            if command is None:
                server.boot = self._bootserve(server.pair, rest)
            else:
                self._spawn(server.pair, command[0], command[1])
        except BaseException:
            server.pair.remove()
            raise
        return server

    def _bootserve(self, pair: Pair, rest: str) -> BootServer:
        label = rest.replace(" ", "-")
        state = self.folder / f"state-{label}"
        if not state.exists():
            make_state(state, int(rest.split()[0]))
        server = BootServer(
            pair.server,
            interface=INTERFACE,
            address=SERVER,
            state_dir=state,
            command=[*_LIMITS, *default_command()],
            log=self.folder / f"bootserve-{label}.log",
            arguments=[
                *("--nbp-dir", str(self.nbp.parent)),
                *("--boots-per-node", str(SCRIPTS_PER_NODE)),
            ],
        )
        return server.start(timeout=120)

    def _command(self, kind: str, rest: str) -> tuple[list[str], int]:
        """Return how a server that is not bootserve is started, and the port it serves."""
        makers: dict[str, Callable[[], tuple[list[str], int]]] = {
            "dnsmasq": lambda: self._dnsmasq(rest),
            "tftpd-hpa": lambda: (self._peers.tftpd_hpa(self.nbp.parent), 69),
            "atftpd": lambda: (self._peers.atftpd(self.nbp.parent), 69),
            "nginx": lambda: (self._peers.nginx(self.www), 8080),
            "responder": lambda: self._responder(rest),
            "limit": lambda: self._limit(rest),
        }
        return makers[kind]()

    def _dnsmasq(self, rest: str) -> tuple[list[str], int]:
        if rest == "tftp":
            return self._peers.dnsmasq_tftp(self.nbp.parent), 69
        return self._peers.dnsmasq_dhcp([mac_of(number) for number in range(int(rest))]), 67

    def _responder(self, rest: str) -> tuple[list[str], int]:
        given = dict(one.split("=") for one in rest.split())
        if file := self._served(given["mode"]):
            given["file"] = file
        return arguments("responder", given), _PORTS[given["mode"]]

    def _limit(self, module: str) -> tuple[list[str], int]:
        argv = [sys.executable, "-m", f"bench.limits.{module}"]
        file = self._served(module)
        return [*argv, file] if file else argv, _PORTS[module]

    def _served(self, mode: str) -> str:
        """Return the file that a server of system calls only is to serve, if it does serve one."""
        if mode == "dhcp":
            return ""
        return str(self.nbp if mode == "tftp" else self.www / "script.ipxe")

    def _spawn(self, pair: Pair, argv: Sequence[str], port: int) -> None:
        output = self.folder / f"output-{self._count}.log"
        with output.open("wb") as log:
            process = pair.server.spawn([*_LIMITS, *argv], log=log, env=self._peers.env, cwd=ROOT)
        deadline = time.monotonic() + 30
        while not pair.server.run(["ss", "-Hlnut", f"sport = :{port}"]).strip():
            self._check(process, argv, output)
            if time.monotonic() > deadline:
                raise HarnessError(f"{argv[0]} does not listen: {output.read_text()[-500:]}")
            time.sleep(0.05)

    def _check(self, process: subprocess.Popen[bytes], argv: Sequence[str], output: Path) -> None:
        if process.poll() is not None:
            said = output.read_text(errors="replace")[-500:]
            raise HarnessError(f"{argv[0]} ended with {process.returncode}: {said}")
