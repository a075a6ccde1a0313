"""The bootserve process of a lab: started, killed and started again as a test wants."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vm_harness.errors import HarnessError
from vm_harness.net import Namespace

__all__ = ["BootServer", "admin_socket", "default_command", "run_cli"]


def default_command() -> list[str]:
    """Return the ``bootserve`` of the environment that this Python is of, else that of PATH."""
    beside = Path(sys.executable).with_name("bootserve")
    found = str(beside) if beside.exists() else shutil.which("bootserve")
    if not found:
        raise HarnessError("bootserve is not installed here: install it or say --bootserve COMMAND")
    return [found]


class BootServer:
    """One ``bootserve serve`` in a namespace, with its state in ``state_dir``.

    ``command`` is how bootserve is called. ``arguments`` and ``env`` are added at each start. The
    log of all its starts is one file.
    """

    def __init__(
        self,
        namespace: Namespace,
        *,
        interface: str,
        address: str,
        state_dir: Path,
        command: Sequence[str],
        log: Path,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.namespace = namespace
        self.interface = interface
        self.address = address
        self.state_dir = state_dir
        self.log = log
        self.command = list(command)
        self.arguments = list(arguments)
        self.env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running, or last, process."""
        if self._process is None:
            raise HarnessError("bootserve has not been started")
        return self._process

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """The boot plane's HTTP address, on the lab's network."""
        return f"http://{self.address}:8080"

    def start(self, *, timeout: float = 20) -> BootServer:
        """Start it and wait until it says READY=1 (sd_notify).

        Raises HarnessError, with the end of its log, when it ends or is not ready in time.
        """
        if self.running:
            raise HarnessError("bootserve is running already")
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        notify = self.log.with_suffix(".notify")
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(notify))
            notify.chmod(0o666)  # as systemd's: bootserve may have become another user by then
            self._spawn({**self.env, "NOTIFY_SOCKET": str(notify)})
            try:
                self._wait_ready(listener, timeout)
            finally:
                notify.unlink(missing_ok=True)
        return self

    def _spawn(self, env: Mapping[str, str]) -> None:
        serve = ["serve", "--interface", self.interface, "--state-dir", str(self.state_dir)]
        with self.log.open("ab") as log:
            self._process = self.namespace.spawn(
                [*self.command, *serve, *self.arguments], log=log, env=env
            )

    def _wait_ready(self, listener: socket.socket, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        listener.settimeout(0.1)
        while True:
            try:
                if b"READY=1" in listener.recv(4096).split(b"\n"):
                    return
            except TimeoutError:
                pass
            if self.process.poll() is not None:
                raise HarnessError(
                    f"bootserve ended with {self.process.returncode}:\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                self.kill()
                raise HarnessError(f"bootserve is not ready in {timeout:g} s:\n{self.log_tail()}")

    def kill(self) -> None:
        """Kill it with SIGKILL, as a crash would."""
        if self.running:
            self.process.kill()
            self.process.wait(10)

    def terminate(self, *, timeout: float = 10) -> int:
        """Send SIGTERM, wait for its end and return its exit code; raises HarnessError."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise HarnessError(f"bootserve did not end within {timeout:g} s of SIGTERM") from None

    def restart(self) -> None:
        """End it in order and start it again."""
        self.terminate()
        self.start()

    def stop(self) -> None:
        """End it if it runs."""
        if self.running:
            self.terminate()

    def log_text(self) -> str:
        """Return its log, of all starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log_text().splitlines()[-lines:])

    def cli(self, *words: str, timeout: float = 60) -> str:
        """Run ``bootserve WORDS`` against it and return the output; raises HarnessError."""
        return run_cli(self.command, self.state_dir, words, timeout=timeout)

    def json(self, *words: str, timeout: float = 60) -> Any:
        """Run ``bootserve WORDS --json`` against it and return what it printed, parsed."""
        return json.loads(self.cli(*words, "--json", timeout=timeout))


def run_cli(
    command: Sequence[str], state_dir: Path, words: Sequence[str], *, timeout: float = 60
) -> str:
    """Run a bootserve command against the server of ``state_dir``; raises HarnessError."""
    argv = [*command, *words]
    env = {**os.environ, "BOOTSERVE_STATE_DIR": str(state_dir)}
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=timeout, env=env, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"{shlex.join(argv)}: {error}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise HarnessError(f"{shlex.join(argv)} failed with {done.returncode}: {said}")
    return done.stdout


def admin_socket(state_dir: Path) -> Path:
    """Return the Unix socket of the admin API of the server whose state is there."""
    return state_dir / "admin.sock"
