"""The machine: its interfaces, this user's rights, and the clock."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from bootserve.errors import InvalidInput
from bootserve.model.finding import Finding
from bootserve.service.doctor.checkup import Checkup, error, ok, warning
from bootserve.service.interface import address_of

__all__ = ["check_clock", "check_interfaces", "check_rights", "is_synchronised"]

SIOCGIFFLAGS, SIOCGIFMTU = 0x8913, 0x8921
IFF_UP, IFF_LOOPBACK, IFF_RUNNING = 0x1, 0x8, 0x40
ETHERNET_MTU = 1500
CAP_NET_BIND_SERVICE, CAP_NET_RAW = 10, 13
FIRST_YEAR, LAST_YEAR = 2025, 2100
STA_UNSYNC = 0x40
TIMEX_BYTES, STATUS_AT = 208, 40
FUTURE_SECONDS = 300.0


def check_interfaces(checkup: Checkup) -> Iterator[Finding]:
    """Look at each provisioning interface: there, up, with a cable and an address, its MTU."""
    if not checkup.interfaces:
        yield error(
            "interface",
            "no interface to serve on is given",
            "Pass --interface NAME, or set interface in the configuration file.",
        )
    for name, wanted in checkup.interfaces.items():
        yield from _interface(name, wanted)


def _interface(name: str, wanted: str) -> Iterator[Finding]:
    names = [one for _, one in socket.if_nameindex()]
    if name not in names:
        yield error("interface", f"there is no {name}", f"Use one of: {', '.join(names)}.")
        return
    flags, mtu = _query(name, SIOCGIFFLAGS, "H"), _query(name, SIOCGIFMTU, "i")
    problems = list(_link_problems(name, flags, mtu))
    yield from problems
    try:
        network = address_of(name, None)
    except InvalidInput:
        action = f"Give it one: ip address add 10.0.0.2/24 dev {name}."
        yield error("interface", f"{name} has no IPv4 address", action)
        return
    address = wanted or str(network.ip)
    if not _is_ours(address):
        action = f"Add it (ip address add {address}/24 dev {name}) or change --address."
        yield error("interface", f"{address} is not an address of this machine", action)
    elif not problems:
        yield ok("interface", f"{name} is up with {address}, MTU {mtu}")


def _link_problems(name: str, flags: int, mtu: int) -> Iterator[Finding]:
    if flags & IFF_LOOPBACK:
        yield error("interface", f"{name} is the loopback", "Name the interface of the nodes.")
    elif not flags & IFF_UP:
        yield error("interface", f"{name} is down", f"Set it up: ip link set {name} up.")
    elif not flags & IFF_RUNNING:
        yield error("interface", f"{name} has no carrier", "Check its cable and its switch port.")
    if mtu < ETHERNET_MTU:
        yield warning(
            "interface",
            f"{name} has MTU {mtu}: firmware asks for TFTP blocks of up to 1468 bytes, which do"
            " not fit",
            f"Set it to 1500 if its switch agrees: ip link set {name} mtu 1500.",
        )


def _query(interface: str, request: int, shape: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        packed = struct.pack("256s", os.fsencode(interface)[:15])
        answer = fcntl.ioctl(probe, request, packed)
    return int(struct.unpack_from(shape, answer, 16)[0])


def _is_ours(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as failed:
            return failed.errno != errno.EADDRNOTAVAIL
    return True


def check_rights(checkup: Checkup) -> Iterator[Finding]:
    """Look at who runs the server, or whether this user could."""
    if checkup.server.pid:
        status = _proc_status(checkup.server.pid)
        user = status.get("Uid", "?").split()[0]
        held = int(status.get("CapEff", "0"), 16)
        text = f"the server (pid {checkup.server.pid}) runs as uid {user}"
        yield ok("rights", f"{text}, with {'no' if not held else f'{held:#x} as'} capabilities")
        return
    held = int(_proc_status("self").get("CapEff", "0"), 16)
    missing = [
        name
        for name, bit in (("NET_BIND_SERVICE", CAP_NET_BIND_SERVICE), ("NET_RAW", CAP_NET_RAW))
        if not held >> bit & 1
    ]
    if missing:
        yield warning(
            "rights",
            f"this user (uid {os.geteuid()}) lacks CAP_{' and CAP_'.join(missing)}, which serving"
            " needs; and it cannot see all that root can",
            "Run the server and this command as root, or give the server these capabilities.",
        )
    else:
        yield ok("rights", f"this user (uid {os.geteuid()}) may open the ports")


def _proc_status(pid: int | str) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def is_synchronised() -> bool:
    """Whether something keeps the kernel's clock in step (adjtimex(2))."""
    buffer = ctypes.create_string_buffer(TIMEX_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(buffer) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return not struct.unpack_from("i", buffer, STATUS_AT)[0] & STA_UNSYNC


def check_clock(checkup: Checkup) -> Iterator[Finding]:
    """Look whether the clock is sane, in step with others, and not behind what is recorded."""
    now = checkup.clock()
    shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
    action = "Set it and keep it in step: install chrony or systemd-timesyncd."
    if not FIRST_YEAR <= time.gmtime(now).tm_year <= LAST_YEAR:
        yield error("clock", f"it says {shown} UTC", action)
        return
    status = checkup.server.status
    if status and status.revision.at > now + FUTURE_SECONDS:
        found = f"it says {shown} UTC, before revision {status.revision.number} was made"
        yield error("clock", found, action)
    elif not is_synchronised():
        found = f"it says {shown} UTC, and nothing keeps it in step"
        yield warning("clock", found, action)
    else:
        yield ok("clock", f"{shown} UTC, kept in step")
