"""Packets on the lab's network, written to a pcap file."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

from vm_harness.errors import HarnessError
from vm_harness.net import Namespace

__all__ = ["Capture"]


class Capture:
    """tcpdump on ``interface``, from construction to stop(); a context manager.

    It ends by itself after ``packets`` packets. ``filter`` is a pcap filter expression.
    """

    def __init__(
        self, namespace: Namespace, interface: str, path: Path, *, filter: str, packets: int
    ) -> None:
        self.path = path
        self._said = path.with_name(path.name + ".log")
        argv = ["tcpdump", "-i", interface, "-n", "-U", "--immediate-mode", "-Z", "root"]
        argv += ["-c", str(packets), "-w", str(path), *([filter] if filter else [])]
        with self._said.open("wb") as log:
            self._process = namespace.spawn(argv, log=log)
        deadline = time.monotonic() + 10
        while "listening on" not in self._said.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait(10)
                raise HarnessError(f"tcpdump does not capture: {self._said.read_text().strip()}")
            time.sleep(0.01)

    def stop(self) -> Path:
        """End it, with all packets so far in the file, and return the file's path."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._said.unlink(missing_ok=True)
        return self.path

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
