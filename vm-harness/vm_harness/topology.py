"""The lab's network: a switch with the DHCP server, bootserve, VMs and clients around it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from vm_harness.errors import HarnessError
from vm_harness.net import Namespace
from vm_harness.registry import namespace_prefix

__all__ = [
    "BRIDGE",
    "DHCP_ADDRESS",
    "HOME",
    "INTERFACE",
    "RELAYED",
    "RELAY_ADDRESS",
    "SERVER_ADDRESS",
    "Segment",
    "Topology",
    "pool",
]

# Every lab has the same addresses, since no lab sees another.
DHCP_ADDRESS = "10.44.0.1"
SERVER_ADDRESS = "10.44.0.2"
RELAY_ADDRESS = "10.44.0.3"
_ROUTER = 4  # the host on HOME that RELAYED is behind
_MAX_NAME = 12  # with the segment's number before it, the name of the switch's port


@dataclass(frozen=True, slots=True)
class Segment:
    """One of the switch's networks: 10.44.NUMBER.0/24 on a bridge of its own."""

    number: int

    @property
    def bridge(self) -> str:
        """The bridge in the switch's namespace."""
        return f"br{self.number}"

    @property
    def interface(self) -> str:
        """What an interface on it is called in the namespaces around the switch."""
        return f"eth{self.number + 1}"

    def address(self, host: int) -> str:
        """Return the address of ``host`` (1 to 254) in it."""
        return f"10.44.{self.number}.{host}"


HOME = Segment(0)  # every lab has it, with the DHCP server and bootserve on it
RELAYED = Segment(1)  # behind a DHCP relay, when a lab has one
BRIDGE = HOME.bridge
INTERFACE = HOME.interface


def pool(segment: Segment) -> tuple[str, str, str]:
    """Return the first and the last address that are given out on ``segment``, and its netmask."""
    return segment.address(100), segment.address(199), "255.255.255.0"


class Topology:
    """The namespaces of one lab and what joins them.

    All links are made inside namespaces: nothing is ever seen in the namespace of the machine, and
    interface names need to be unique in their own namespace only. ``directory`` is the lab's.
    """

    def __init__(self, lab_id: str, directory: Path) -> None:
        self._prefix = namespace_prefix(lab_id)
        self._taps = directory / "taps"
        self.switch = self.namespace("switch")
        self.dhcp = self.namespace("dhcp")
        self.server = self.namespace("server")

    def namespace(self, name: str) -> Namespace:
        """Return the namespace of this lab that is called ``name`` in it."""
        return Namespace(self._prefix + name)

    def build(self) -> None:
        """Make the switch, with the namespaces of the DHCP server and of bootserve joined to it."""
        self._taps.mkdir()
        self.switch.create()
        self.add_segment(HOME)
        self.join("dhcp", f"{DHCP_ADDRESS}/24")
        self.give_ipv6(self.dhcp, HOME)
        self.join("server", f"{SERVER_ADDRESS}/24")

    def add_segment(self, segment: Segment) -> None:
        """Make the segment's bridge; raises HarnessError when there is one of this number."""
        bridge = ["link", "add", "name", segment.bridge, "type", "bridge"]
        self.switch.ip(*bridge, "stp_state", "0", "forward_delay", "0")
        self.switch.ip("link", "set", segment.bridge, "up")

    def add_relayed(self) -> None:
        """Make the network RELAYED and the namespace ``relay``, the router between it and HOME."""
        self.add_segment(RELAYED)
        router = HOME.address(_ROUTER)
        relay = self.join("relay", f"{router}/24")
        self.attach("relay", RELAYED, f"{RELAYED.address(1)}/24")
        self.give_ipv6(relay, RELAYED)
        relay.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
        for namespace in (self.dhcp, self.server):
            namespace.ip("route", "add", f"{RELAYED.address(0)}/24", "via", router)

    def give_ipv6(self, namespace: Namespace, segment: Segment) -> None:
        """Give ``namespace`` the IPv6 address of a DHCP server on ``segment``."""
        address = f"fd44:{segment.number}::1/64"
        namespace.ip("address", "add", address, "dev", segment.interface, "nodad")

    def join(self, name: str, address: str = "", segment: Segment = HOME) -> Namespace:
        """Make a namespace on ``segment`` (:meth:`attach`).

        Raises HarnessError when the lab has one of this name.
        """
        if len(name) > _MAX_NAME:
            raise HarnessError(f"{name!r} is too long: at most {_MAX_NAME} characters")
        self.namespace(name).create()
        return self.attach(name, segment, address)

    def attach(self, name: str, segment: Segment, address: str = "") -> Namespace:
        """Give the namespace ``name`` an interface on ``segment``, with ``address`` if given."""
        namespace = self.namespace(name)
        port = f"{segment.number}-{name}"
        peer = ["peer", "name", segment.interface, "netns", namespace.name]
        self.switch.ip("link", "add", "name", port, "type", "veth", *peer)
        self.switch.ip("link", "set", port, "master", segment.bridge, "up")
        namespace.ip("link", "set", segment.interface, "up")
        if address:
            namespace.ip("address", "add", address, "dev", segment.interface)
        return namespace

    def add_tap(self, segment: Segment = HOME) -> str:
        """Make a tap on ``segment`` and return its name; two processes never get the same."""
        number = 0
        while True:
            try:
                (self._taps / f"tap{number}").mkdir()
                break
            except FileExistsError:
                number += 1
        name = f"tap{number}"
        self.switch.ip("tuntap", "add", "dev", name, "mode", "tap")
        self.switch.ip("link", "set", name, "master", segment.bridge, "up")
        return name

    def remove_tap(self, name: str) -> None:
        """Remove a tap of add_tap()."""
        self.switch.ip("link", "del", name)
        shutil.rmtree(self._taps / name)
