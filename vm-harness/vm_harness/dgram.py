"""A VM whose network is this process: frames over a Unix socket, without root, tap or bridge.

QEMU's ``-netdev dgram`` hands each Ethernet frame over as one datagram. Who plays the network
answers packet by packet, and sees what the firmware makes of each.
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from vm_harness.accel import Accelerator
from vm_harness.errors import HarnessError
from vm_harness.machine import Machine, prepare, qemu_command

__all__ = ["DgramVm", "Segment", "Udp"]

BROADCAST = "255.255.255.255"
_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_IP_TYPE, _ARP_TYPE = 0x0800, 0x0806
_TCP, _UDP_PROTOCOL = 6, 17


@dataclass(frozen=True, slots=True)
class Udp:
    """A datagram on the segment, addresses as (IPv4 address, port); ``tcp`` marks a TCP SYN."""

    source: tuple[str, int]
    target: tuple[str, int]
    payload: bytes
    tcp: bool = False


class Segment:
    """One end of a VM's cable. ``hosts`` maps the IPv4 addresses played here to their MACs."""

    def __init__(self, directory: Path, hosts: dict[str, str]) -> None:
        self._hosts = {
            address: bytes.fromhex(mac.replace(":", "")) for address, mac in hosts.items()
        }
        self._peer = str(directory / "guest.sock")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(directory / "host.sock"))
        self._guest = b"\xff" * 6

    def close(self) -> None:
        """Unplug the cable."""
        self._socket.close()

    def receive(self, deadline: float) -> Udp | None:
        """Return what the VM sends next, or None at ``deadline`` (monotonic seconds).

        ARP requests for the hosts are answered; what is neither UDP nor a TCP SYN is dropped.
        """
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame = self._socket.recv(4096)
            except TimeoutError:
                return None
            seen = self._read(frame)
            if seen is not None:
                return seen
        return None

    def send(self, datagram: Udp) -> None:
        """Send ``datagram`` to the VM, from the MAC of the host that it comes from."""
        source, target = (socket.inet_aton(one[0]) for one in (datagram.source, datagram.target))
        size = _UDP.size + len(datagram.payload)
        head = _IPV4.pack(0x45, 0, 20 + size, 0, 0, 64, _UDP_PROTOCOL, 0, source, target)
        head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
        to = b"\xff" * 6 if datagram.target[0] == BROADCAST else self._guest
        self._write(
            _ETHERNET.pack(to, self._hosts[datagram.source[0]], _IP_TYPE)
            + head
            # a checksum of 0 means that there is none (RFC 768)
            + _UDP.pack(datagram.source[1], datagram.target[1], size, 0)
            + datagram.payload
        )

    def _write(self, frame: bytes) -> None:
        self._socket.sendto(frame.ljust(60, b"\0"), self._peer)

    def _read(self, frame: bytes) -> Udp | None:
        kind = _ETHERNET.unpack_from(frame)[2]
        self._guest = frame[6:12]
        if kind == _ARP_TYPE:
            self._answer_arp(frame)
        if kind != _IP_TYPE or len(frame) < 34:
            return None
        return _read_ip(frame[14:])

    def _answer_arp(self, frame: bytes) -> None:
        _, _, _, _, operation, mac, address, _, wanted = _ARP.unpack_from(frame, 14)
        ours = self._hosts.get(socket.inet_ntoa(wanted))
        if operation == 1 and ours is not None and address != wanted:
            reply = _ARP.pack(1, _IP_TYPE, 6, 4, 2, ours, wanted, mac, address)
            self._write(_ETHERNET.pack(mac, ours, _ARP_TYPE) + reply)


def _read_ip(packet: bytes) -> Udp | None:
    at = (packet[0] & 15) * 4
    protocol, source, target = packet[9], packet[12:16], packet[16:20]
    sport, dport = struct.unpack_from("!HH", packet, at)
    ends = (socket.inet_ntoa(source), sport), (socket.inet_ntoa(target), dport)
    if protocol == _UDP_PROTOCOL:
        size = struct.unpack_from("!H", packet, at + 4)[0]
        return Udp(*ends, packet[at + 8 : at + size])
    if protocol == _TCP and packet[at + 13] & 0x12 == 0x02:
        return Udp(*ends, b"", tcp=True)
    return None


def _checksum(head: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(head) // 2}H", head))
    total = (total & 0xFFFF) + (total >> 16)
    folded: int = (total & 0xFFFF) + (total >> 16)
    return ~folded & 0xFFFF


class DgramVm:
    """A VM on a :class:`Segment`; a context manager that powers it on, and off for good.

    ``machine`` needs exactly one MAC address. ``segment`` is what the VM's cable leads to.
    """

    def __init__(self, machine: Machine, accelerator: Accelerator, hosts: dict[str, str]) -> None:
        # short, since the address of a Unix socket holds 108 bytes
        self._directory = Path(tempfile.mkdtemp(prefix="vmh-"))
        self.segment = Segment(self._directory, hosts)
        self._command = qemu_command(
            replace(machine, extra=(*machine.extra, *_nic(machine))), (), accelerator
        )
        self._machine = machine
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of its QEMU; raises HarnessError before it is powered on."""
        if self._process is None:
            raise HarnessError(f"{self._machine.name} has not been started")
        return self._process.pid

    @property
    def console(self) -> str:
        """What its serial console has said so far."""
        path = self._directory / "console.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def __enter__(self) -> DgramVm:
        prepare(self._machine, self._directory)
        with (self._directory / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                [word for word in self._command if word != "-S"],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.segment.close()
        shutil.rmtree(self._directory)


def _nic(machine: Machine) -> tuple[str, ...]:
    ends = "local.type=unix,local.path=guest.sock,remote.type=unix,remote.path=host.sock"
    device = f"{machine.nic},netdev=net0,mac={machine.macs[0]},bootindex=0"
    if machine.firmware != "bios":
        device += ",romfile="  # OVMF's own client, not the ROM's iPXE
    return ("-netdev", f"dgram,id=net0,{ends}", "-device", device)
