"""Network namespaces: making them, wiring them, running programs in them, ending those."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vm_harness.errors import HarnessError

__all__ = ["NETNS", "Namespace", "end_processes", "list_namespaces", "run"]

NETNS = Path("/run/netns")
_SETTINGS = """
for f in /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv6/conf/*/accept_ra
do echo 0 >$f
done
"""


def run(argv: Sequence[str], *, input: str | None = None, timeout: float = 30) -> str:
    """Run ``argv`` and return what it wrote to stdout; raises HarnessError when it fails."""
    try:
        done = subprocess.run(argv, input=input, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError:
        raise HarnessError(f"{argv[0]} is not installed (see deploy/debian-packages.txt)") from None
    except subprocess.TimeoutExpired:
        raise HarnessError(f"{' '.join(argv)}: no end within {timeout:g} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise HarnessError(f"{' '.join(argv)} failed with {done.returncode}: {said}")
    return done.stdout


def list_namespaces(prefix: str) -> list[Namespace]:
    """Return the named network namespaces of this machine whose name starts with ``prefix``."""
    if not NETNS.is_dir():
        return []
    return [
        Namespace(entry.name) for entry in sorted(NETNS.iterdir()) if entry.name.startswith(prefix)
    ]


@dataclass(frozen=True, slots=True)
class Namespace:
    """A named network namespace."""

    name: str

    @property
    def exists(self) -> bool:
        """Whether the namespace is there."""
        return (NETNS / self.name).exists()

    def create(self) -> None:
        """Make it, with its loopback up.

        Without the filters that a lab's odd paths offend, and deaf to router advertisements, so
        that only machines that boot ask for and use them.
        """
        run(["ip", "netns", "add", self.name])
        self.ip("link", "set", "lo", "up")
        self.run(["sh", "-c", _SETTINGS])

    def remove(self) -> None:
        """Remove the name; the namespace ends with its last process."""
        if self.exists:
            run(["ip", "netns", "del", self.name])

    def ip(self, *words: str) -> str:
        """Run ``ip WORDS`` in it."""
        return run(["ip", "-n", self.name, *words])

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs ``argv`` in it; the process id stays that of the command."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, argv: Sequence[str], *, input: str | None = None, timeout: float = 30) -> str:
        """Run ``argv`` in it to its end and return its stdout; raises HarnessError on failure."""
        return run(self.command(argv), input=input, timeout=timeout)

    def spawn(
        self,
        argv: Sequence[str],
        *,
        log: IO[bytes],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start ``argv`` in it, in a session of its own, with all output going to ``log``."""
        return subprocess.Popen(
            self.command(argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
            start_new_session=True,
        )

    def pids(self) -> list[int]:
        """Return the processes in it, this one left out."""
        try:
            inode = (NETNS / self.name).stat().st_ino
        except FileNotFoundError:
            return []
        everyone = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
        return [pid for pid in everyone if pid != os.getpid() and _inode_of(pid) == inode]


def _inode_of(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:  # gone, or a zombie, which has left its namespaces
        return None


def end_processes(namespaces: Iterable[Namespace], *, grace: float = 5.0) -> None:
    """End every process in ``namespaces``: SIGTERM, and SIGKILL after ``grace`` seconds.

    Raises HarnessError when one outlives even that (in uninterruptible sleep).
    """
    wanted = list(namespaces)
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        _signal_all(wanted, number)
        deadline = time.monotonic() + patience
        while (left := _pids_in(wanted)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not left:
            return
    raise HarnessError(f"processes {left} do not end")


def _pids_in(namespaces: Iterable[Namespace]) -> list[int]:
    return [pid for namespace in namespaces for pid in namespace.pids()]


def _signal_all(namespaces: Iterable[Namespace], number: signal.Signals) -> None:
    for namespace in namespaces:
        for pid in namespace.pids():
            _signal_member(namespace, pid, number)


def _signal_member(namespace: Namespace, pid: int, number: signal.Signals) -> None:
    """Signal ``pid`` when it still is a process of ``namespace``; ids are used again."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if pid in namespace.pids():
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
