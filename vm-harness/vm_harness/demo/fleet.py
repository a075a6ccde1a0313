"""The demo's lab: a server, three nodes of one rack, and a machine that nobody knows."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vm_harness.demo.proofs import Teller
from vm_harness.lab import Lab, mac_for
from vm_harness.machine import Firmware
from vm_harness.phases import BootPhases, ConsolePhases, PhaseSource, follow
from vm_harness.server import BootServer, admin_socket
from vm_harness.vm import Vm

__all__ = ["UP_SECONDS", "Fleet"]

UP_SECONDS = 240.0
"""Two VMs at once on two cores; four times what was measured on an idle machine."""
CONSOLE_PHASES = ("ipxe", "kernel")


class Fleet:
    """The VMs of the demo and the commands of its admin."""

    def __init__(self, lab: Lab, server: BootServer, teller: Teller) -> None:
        self.lab = lab
        self.server = server
        self.teller = teller
        self.vms: dict[str, Vm] = {}
        self.seconds: dict[str, float] = {}
        self._telling = threading.Lock()

    def admin(self, *words: str) -> str:
        """Run a bootserve command, telling it and its first line of output."""
        self._tell(f"$ bootserve {' '.join(words)}")
        said = self.server.cli(*words, timeout=120)
        for line in said.splitlines()[:1]:
            self._tell(line.strip())
        return said

    def _tell(self, text: str) -> None:
        with self._telling:
            self.teller.say(text)

    def power_on(self, name: str, firmware: Firmware) -> Vm:
        """Start the VM ``name``, or start it again from nothing."""
        vm = self.vms.get(name)
        if vm is None:
            vm = self.vms[name] = self.lab.vm(name, mac=mac_for(name), firmware=firmware)
            vm.start()
        else:
            vm.power_cycle()
        self._tell(f"{name}: power on ({firmware})")
        return vm

    def follow(self, name: str, *, until: str) -> float:
        """Tell the phases of ``name`` as they come; return the seconds from power-on."""
        vm = self.vms[name]
        socket = admin_socket(self.server.state_dir)
        sources: list[PhaseSource] = [ConsolePhases(vm), BootPhases(socket, name, vm.started_at)]
        phase = None
        for phase in follow(vm, sources, until=[until], timeout=UP_SECONDS):
            if phase.source == "server" or phase.name in CONSOLE_PHASES:
                self._tell(f"{name}: {phase}")
        assert phase is not None
        self.seconds[name] = phase.after
        return phase.after

    def follow_all(self, until: Mapping[str, str]) -> None:
        """Follow several at once, each until a phase of its own."""
        with ThreadPoolExecutor(len(until)) as pool:
            list(pool.map(lambda name: self.follow(name, until=until[name]), until))

    def last_boot(self, name: str) -> dict[str, Any]:
        """Return bootserve's record of the newest boot of ``name``."""
        boots: list[dict[str, Any]] = self.server.json("boots", name, "--limit", "1")["boots"]
        return boots[0] if boots else {}

    def runs(self, name: str) -> str:
        """Return the generation that ``name`` itself reported to run, once it was up."""
        return str(self.last_boot(name).get("reported_generation", ""))

    def mounted(self, name: str) -> str:
        """Return the generation whose root ``name`` verified and mounted at its last boot."""
        boot = self.last_boot(name)
        phases = {phase["phase"] for phase in boot.get("phases", [])}
        return str(boot["generation"]) if {"verified", "mounted"} <= phases else ""
