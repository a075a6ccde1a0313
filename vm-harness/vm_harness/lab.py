"""The lab: the datacenter's DHCP server, bootserve and VMs on a network of their own."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from vm_harness import registry
from vm_harness.accel import Accelerator, choose_accelerator
from vm_harness.capture import Capture
from vm_harness.corrupt import Corruptor
from vm_harness.dhcp import DhcpServer
from vm_harness.dhcprelay import DhcpRelay, RelayProgram
from vm_harness.errors import HarnessError
from vm_harness.machine import Firmware, Machine, Nic
from vm_harness.net import Namespace
from vm_harness.reaper import Reaper
from vm_harness.registry import LabState
from vm_harness.relay import Damage, Rule
from vm_harness.server import BootServer, default_command
from vm_harness.topology import (
    BRIDGE,
    DHCP_ADDRESS,
    HOME,
    INTERFACE,
    RELAYED,
    SERVER_ADDRESS,
    Segment,
    Topology,
    pool,
)
from vm_harness.vm import Vm

__all__ = ["Lab", "mac_for"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def mac_for(name: str) -> str:
    """Return a MAC address in QEMU's range that is always the same for ``name``."""
    return "52:54:00:" + hashlib.sha256(name.encode()).digest()[:3].hex(":")


class Lab:
    """One lab; as a context manager it goes down at the end.

    Made by :meth:`create`, or by :meth:`open` for one that ``vm-harness up`` left standing.
    ``network`` holds its namespaces, ``dhcp`` is its DHCP server (``dhcp_servers`` are all, where
    there are further segments), ``servers`` and ``vms`` are the
    bootserve processes and the VMs that this object made.
    """

    def __init__(self, state: LabState, *, reaper: Reaper | None = None) -> None:
        self.state = state
        self.network = Topology(state.id, state.directory)
        self.dhcp = DhcpServer(
            self.network.dhcp,
            INTERFACE,
            state.directory,
            relayed=(*pool(RELAYED), RELAYED.address(1)),
        )
        self.segments = [HOME]
        self.relay: DhcpRelay | None = None
        self.accelerator = Accelerator(state.accelerator)
        self.servers: list[BootServer] = []
        self.vms: list[Vm] = []
        self._vlans: list[subprocess.Popen[bytes]] = []
        self._reaper = reaper
        self._corruptor: Corruptor | None = None
        self._stack = ExitStack()
        self.dhcp_servers = [self.dhcp]

    @property
    def id(self) -> str:
        """Its id, unique on this machine."""
        return self.state.id

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self.state.directory

    # --- up and down ------------------------------------------------------------------------

    @classmethod
    def create(cls, *, accelerator: Accelerator | None = None) -> Lab:
        """Make a lab owned by this process, with the DHCP server running.

        It goes down with its owner, however that ends, unless :meth:`keep` is called. Without
        ``accelerator``, KVM is probed. Raises HarnessError; what was begun is then undone.
        """
        chosen = accelerator or choose_accelerator()
        state = registry.claim(str(chosen))
        lab = cls(state, reaper=Reaper(state.id))
        try:
            lab.network.build()
            lab.dhcp.start(*pool(HOME))
        except BaseException:
            lab.down()
            raise
        return lab

    @classmethod
    def open(cls, lab_id: str = "") -> Lab:
        """Return a lab that ``vm-harness up`` left standing; raises HarnessError."""
        return cls(registry.find_lab(lab_id))

    def keep(self) -> None:
        """Let it stand after this process has ended, until ``vm-harness down``."""
        self.state = self.state.keep()
        if self._reaper:
            self._reaper.stand_down()
            self._reaper = None

    def down(self) -> None:
        """End everything in it and remove every trace; nothing happens the second time."""
        for vm in self.vms:
            vm.kill()
        self._stack.close()
        registry.remove(self.id)
        for server in self.servers:
            server.stop()
        for dhcp in self.dhcp_servers:
            dhcp.wait()
        if self.relay:
            self.relay.wait()
        for vlan in self._vlans:
            vlan.wait(10)
        if self._reaper:
            self._reaper.stand_down()
            self._reaper = None

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    # --- networks ---------------------------------------------------------------------------

    def add_segment(self) -> Segment:
        """Return a new network with bootserve's namespace and a DHCP server of its own on it.

        They are hosts 2 and 1 there, as on the lab's first. bootserve serves on it when it is
        started with ``--interface`` of :attr:`Segment.interface` too.
        """
        segment = Segment(2 + sum(one.number >= 2 for one in self.segments))
        self.segments.append(segment)
        self.network.add_segment(segment)
        self.network.attach("server", segment, f"{segment.address(2)}/24")
        name = f"dhcp{segment.number}"
        namespace = self.network.join(name, f"{segment.address(1)}/24", segment)
        self.network.give_ipv6(namespace, segment)
        dhcp = DhcpServer(namespace, segment.interface, self.directory, name=name)
        self.dhcp_servers.append(dhcp)
        dhcp.start(*pool(segment))
        return segment

    def add_relay(self, program: RelayProgram = "isc") -> Segment:
        """Return a new network behind a DHCP relay, which relays to the DHCP server and bootserve.

        Its router is that relay; both servers have a route to it. A lab has at most one.
        """
        self.segments.append(RELAYED)
        self.network.add_relayed()
        servers = (DHCP_ADDRESS, SERVER_ADDRESS)
        self.relay = DhcpRelay(self.network.namespace("relay"), servers, self.directory, program)
        self.relay.start()
        return RELAYED

    def add_vlan(self, vid: int) -> Segment:
        """Return a new network that is the VLAN ``vid`` (1 to 4094) of the lab's first.

        On HOME its frames have the tag, so a VM there whose kernel knows 802.1Q is on both.
        """
        segment = self.add_segment()
        taps = [self.network.add_tap(segment), self.network.add_tap(HOME)]
        log = self.directory / f"vlan{vid}.log"
        command = [sys.executable, "-m", "vm_harness.vlan", str(vid), *taps]
        with log.open("wb") as output:
            self._vlans.append(self.network.switch.spawn(command, log=output))
        deadline = time.monotonic() + 20
        while "ready" not in log.read_text():
            if self._vlans[-1].poll() is not None or time.monotonic() > deadline:
                raise HarnessError(f"the VLAN did not come up: {log.read_text()}")
            time.sleep(0.02)
        return segment

    # --- virtual machines -------------------------------------------------------------------

    def vm(
        self,
        name: str,
        *,
        mac: str = "",
        firmware: Firmware = "bios",
        memory: int = 768,
        nic: Nic = "virtio-net-pci",
        cpus: int = 1,
        extra_macs: Sequence[str] = (),
        disks: Sequence[str] = (),
        watchdog: bool = False,
        extra: Sequence[str] = (),
        unplugged: Sequence[int] = (),
        segment: Segment = HOME,
    ) -> Vm:
        """Return a new VM on ``segment``, off; see :class:`Machine` for its parts.

        Without ``mac`` it gets the one that ``mac_for(name)`` gives. bootserve need not know it.
        Raises HarnessError when the lab has a running VM of this name.
        """
        macs = (mac or mac_for(name), *extra_macs)
        machine = Machine(
            name,
            macs,
            firmware,
            memory,
            cpus,
            nic,
            tuple(disks),
            watchdog,
            tuple(extra),
            tuple(unplugged),
        )
        directory = self._vm_directory(name)
        vm = Vm(
            machine,
            switch=self.network.switch,
            taps=tuple(self.network.add_tap(segment) for _ in macs),
            directory=directory,
            accelerator=self.accelerator,
            release=self._release,
        )
        self.vms.append(vm)
        return vm

    def find_vm(self, name: str) -> Vm:
        """Return the VM of this name that another process started; raises HarnessError."""
        if not _NAME.fullmatch(name):
            raise HarnessError(f"{name!r} is not a usable name of a VM")
        return Vm.load(
            self.directory / "vms" / name,
            switch=self.network.switch,
            accelerator=self.accelerator,
            release=self._release,
        )

    def vm_names(self) -> list[str]:
        """Return the names of all VMs that have been started in it, by whatever process."""
        return sorted(path.parent.name for path in self.directory.glob("vms/*/vm.json"))

    def _vm_directory(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise HarnessError(f"{name!r} is not a usable name of a VM")
        directory = self.directory / "vms" / name
        if (directory / "vm.json").exists():
            old = self.find_vm(name)
            if old.running:
                raise HarnessError(f"{name} is running already: vm-harness stop {name}")
            self._release(old)
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            raise HarnessError(f"this lab has a VM {name!r} already") from None
        return directory

    def _release(self, vm: Vm) -> None:
        for tap in vm.taps:
            self.network.remove_tap(tap)
        shutil.rmtree(vm.directory, ignore_errors=True)
        self.vms = [other for other in self.vms if other is not vm]

    # --- servers and clients ----------------------------------------------------------------

    def bootserve(
        self,
        *,
        state_dir: Path | None = None,
        command: Sequence[str] = (),
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> BootServer:
        """Return a bootserve of this lab, not yet started.

        ``command`` is how bootserve is called, by default that of this Python's environment;
        ``arguments`` are added to ``serve``. Without ``state_dir`` its state goes with the lab.
        """
        number = len(self.servers)
        server = BootServer(
            self.network.server,
            interface=INTERFACE,
            address=SERVER_ADDRESS,
            state_dir=state_dir or self.directory / f"bootserve{number or ''}",
            command=command or default_command(),
            log=self.directory / f"bootserve{number or ''}.log",
            arguments=arguments,
            env=env,
        )
        self.servers.append(server)
        return server

    def client(
        self, name: str, address: str = "10.44.0.50", *, segment: Segment = HOME
    ) -> Namespace:
        """Return a new namespace on ``segment`` (HOME: ``eth1``) to run client programs in."""
        return self.network.join(name, f"{address}/24" if address else "", segment)

    def capture(self, path: Path, *, filter: str = "", packets: int = 20_000) -> Capture:
        """Return a running capture of the lab's network into ``path`` (pcap), of bounded length."""
        capture = Capture(self.network.switch, BRIDGE, path, filter=filter, packets=packets)
        return self._stack.enter_context(capture)

    # --- damage on the wire -----------------------------------------------------------------

    def corrupt_http(
        self, path: str, *, offset: int, damage: Damage = "flip", times: int = 0, port: int = 8080
    ) -> Corruptor:
        """Damage HTTP responses of bootserve from now on; see :class:`Rule` for the meaning.

        Returns the relay: ``off()`` ends the damage, ``set()`` changes it, ``damaged`` lists what
        was done. Call again for another rule; ``port`` is that of the first call.
        """
        rule = Rule(path, damage, offset, times)
        if self._corruptor is None:
            corruptor = Corruptor(self.network, port=port, log=self.directory / "relay.log")
            self._corruptor = self._stack.enter_context(corruptor)
        self._corruptor.set(rule)
        return self._corruptor
