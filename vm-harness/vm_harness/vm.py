"""One virtual machine: its power, its serial console, its monitor."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vm_harness.accel import Accelerator
from vm_harness.console import Console, connect_unix
from vm_harness.errors import HarnessError
from vm_harness.machine import Machine, prepare, qemu_command
from vm_harness.net import Namespace
from vm_harness.qmp import Qmp, QmpEvent
from vm_harness.registry import is_alive, process_started
from vm_harness.shell import LOGIN_TIMEOUT, run_in_shell, wait_for_prompt

__all__ = ["Vm"]


class Vm:
    """A VM of a lab. Made by ``Lab.vm()``; nothing runs until :meth:`start`.

    Times are seconds; ``started_at`` is since the epoch, ``started_monotonic`` on the clock that
    console and monitor events are stamped with. Every method raises HarnessError when the VM is not
    running and has to be, or QEMU refuses.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        switch: Namespace,
        taps: tuple[str, ...],
        directory: Path,
        accelerator: Accelerator,
        release: Callable[[Vm], None] = lambda vm: None,
    ) -> None:
        self.machine = machine
        self.directory = directory
        self.taps = taps
        self.started_at = 0.0
        self.started_monotonic = 0.0
        self._switch = switch
        self._accelerator = accelerator
        self._release = release
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._pid_started = 0
        self._console: Console | None = None
        self._qmp: Qmp | None = None
        self._logged_in_after: int | None = None
        self._closed = False

    # --- what it is -------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its name."""
        return self.machine.name

    @property
    def mac(self) -> str:
        """The MAC address of the NIC that boots."""
        return self.machine.macs[0]

    @property
    def running(self) -> bool:
        """Whether its QEMU runs."""
        if self._process is not None:
            return self._process.poll() is None
        return is_alive(self._pid, self._pid_started)

    @property
    def console(self) -> Console:
        """Its serial console since the last power-on."""
        if self._console is None:
            raise HarnessError(f"{self.name} has not been started")
        return self._console

    @property
    def console_log(self) -> Path:
        """The file of all its raw console output, over all power cycles."""
        return self.directory / "console.log"

    # --- power ------------------------------------------------------------------------------

    def start(self) -> Vm:
        """Power it on, with console and monitor connected before its first instruction."""
        if self.running:
            raise HarnessError(f"{self.name} is running already")
        if not (self.directory / "vm.json").exists():
            prepare(self.machine, self.directory)
        for name in ("serial.sock", "qmp.sock"):
            (self.directory / name).unlink(missing_ok=True)
        command = qemu_command(self.machine, self.taps, self._accelerator)
        with (self.directory / "qemu.log").open("wb") as log:
            self._process = self._switch.spawn(command, log=log, cwd=self.directory)
        self._pid, self._pid_started = self._process.pid, process_started(self._process.pid)
        self.connect()
        self.started_at, self.started_monotonic = time.time(), time.monotonic()
        self._save()
        for number in self.machine.unplugged:
            self.set_link(number, up=False)
        self.qmp("cont")
        return self

    def connect(self) -> None:
        """Connect console and monitor of a QEMU that runs; only one process can at a time."""
        self._disconnect()
        self._logged_in_after = None
        where = str(self.directory)
        try:
            self._qmp = Qmp(
                connect_unix(where, "qmp.sock", alive=lambda: self.running), name=self.name
            )
            self._console = Console(connect_unix(where, "serial.sock"), name=self.name)
        except HarnessError as error:
            self.kill()
            raise HarnessError(f"{error}: {self._qemu_log()}") from None

    def kill(self) -> None:
        """Take its power away, now; its console's text stays readable."""
        if self.running:
            os.kill(self._pid, signal.SIGKILL)
            self.wait_exit(10)
        self._disconnect()

    def power_cycle(self) -> None:
        """Take its power away and give it back: memory is lost, disks and NVRAM stay."""
        self.kill()
        self.start()

    def reset(self) -> None:
        """Press the reset button."""
        self.qmp("system_reset")

    def press_power_button(self) -> None:
        """Ask the guest to shut down (ACPI)."""
        self.qmp("system_powerdown")

    def wait_exit(self, timeout: float) -> int:
        """Wait until it is off; return QEMU's exit code, or 0 when another process began it."""
        if self._process is not None:
            try:
                code = self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise HarnessError(f"{self.name} is not off within {timeout:g} s") from None
            self._disconnect()
            return code
        try:
            handle = os.pidfd_open(self._pid)
        except (ProcessLookupError, OSError):
            return 0
        try:
            if self.running and not select.select([handle], [], [], timeout)[0]:
                raise HarnessError(f"{self.name} is not off within {timeout:g} s")
        finally:
            os.close(handle)
        return 0

    def detach(self) -> None:
        """Disconnect console and monitor and leave it running."""
        self._disconnect()

    def close(self) -> None:
        """Kill it and give its taps and directory back to the lab, once."""
        self.kill()
        if not self._closed:
            self._closed = True
            self._release(self)

    def _disconnect(self) -> None:
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None
        if self._console is not None:
            self._console.close()

    def _qemu_log(self) -> str:
        path = self.directory / "qemu.log"
        return path.read_text(errors="replace").strip() if path.exists() else ""

    # --- console ----------------------------------------------------------------------------

    def expect(self, pattern: str | re.Pattern[str], timeout: float) -> re.Match[str]:
        """Wait for a regular expression on the console, from the end of the last match.

        Raises ExpectError with the last 40 lines after ``timeout`` seconds, or when it is off.
        """
        return self.console.expect(pattern, timeout)

    def send(self, text: str, *, pace: float = 0.0) -> None:
        """Type on the console; end a line with a newline. See :meth:`Console.send` for ``pace``."""
        self.console.send(text, pace=pace)

    def login(self, timeout: float = LOGIN_TIMEOUT) -> None:
        """Wait for the prompt of a root shell on the console."""
        wait_for_prompt(self.console, timeout)
        self._logged_in_after = self._boots_seen()

    def run(self, command: str, *, timeout: float = 60, check: bool = True) -> str:
        """Run ``command`` in the root shell on the console; see :func:`run_in_shell`.

        Waits for the shell first if there was no prompt since the last power-on or reset.
        """
        if self._logged_in_after != self._boots_seen():
            self.login()
        return run_in_shell(self.console, command, timeout=timeout, check=check)

    def _boots_seen(self) -> int:
        return len(self._monitor.events("RESET"))

    # --- monitor ----------------------------------------------------------------------------

    @property
    def _monitor(self) -> Qmp:
        if self._qmp is None:
            raise HarnessError(f"{self.name} is not running")
        return self._qmp

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Run a QMP command and return its result; underscores in names become hyphens."""
        return self._monitor.execute(command, **arguments)

    def set_link(self, number: int, *, up: bool) -> None:
        """Put the cable of its NIC ``number`` in, or pull it out."""
        self.qmp("set_link", name=f"net{number}", up=up)

    def wait_reset(self, timeout: float, *, count: int = 1) -> QmpEvent:
        """Wait for the ``count``-th reset since power-on, by the guest itself or by reset()."""
        return self._monitor.wait_event("RESET", count=count, timeout=timeout)

    def memory_bytes(self) -> int:
        """Return the size of its memory."""
        return int(self.qmp("query-memory-size-summary")["base-memory"])

    def save_memory(self, path: Path) -> None:
        """Write its physical memory, up to the hole below 4 GiB, to ``path``."""
        size = min(self.memory_bytes(), 2 << 30)
        self._monitor.execute("pmemsave", timeout=120, val=0, size=size, filename=str(path))

    def disks(self) -> dict[str, int]:
        """Return its disks: the name of each (``disk0``, …) and its size in bytes."""
        blocks = [block["inserted"] for block in self.qmp("query-block") if "inserted" in block]
        named = {str(block["node-name"]): int(block["image"]["virtual-size"]) for block in blocks}
        return {name: size for name, size in named.items() if name.startswith("disk")}

    def attach_disk(self, path: Path, name: str) -> None:
        """Plug the raw file ``path`` in as a virtio disk; ``name`` (``disk…``) is its serial."""
        self.qmp("blockdev-add", driver="raw", node_name=name,
                 file={"driver": "file", "filename": str(path)})  # fmt: skip
        self.qmp("device_add", driver="virtio-blk-pci", drive=name, id=f"{name}-disk", serial=name)

    # --- other processes --------------------------------------------------------------------

    def _save(self) -> None:
        state = {
            "machine": asdict(self.machine),
            "taps": self.taps,
            "pid": self._pid,
            "pid_started": self._pid_started,
            "started_at": self.started_at,
        }
        (self.directory / "vm.json").write_text(json.dumps(state, indent=2) + "\n")

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        switch: Namespace,
        accelerator: Accelerator,
        release: Callable[[Vm], None],
    ) -> Vm:
        """Return the VM that another process started in ``directory``, not yet connected."""
        try:
            state = json.loads((directory / "vm.json").read_text())
            vm = cls(
                Machine.from_json(state["machine"]),
                switch=switch,
                taps=tuple(state["taps"]),
                directory=directory,
                accelerator=accelerator,
                release=release,
            )
            vm._pid, vm._pid_started = state["pid"], state["pid_started"]
            vm.started_at = state["started_at"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HarnessError(f"there is no VM {directory.name!r}: {error}") from None
        vm.started_monotonic = time.monotonic() - (time.time() - vm.started_at)
        return vm
