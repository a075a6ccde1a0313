"""The lab's network: a switch with the DHCP server, bootserve, VMs and clients around it."""

from __future__ import annotations

import shutil
from pathlib import Path

from vm_harness.errors import HarnessError
from vm_harness.net import Namespace
from vm_harness.registry import namespace_prefix

__all__ = [
    "BRIDGE",
    "DHCP_ADDRESS",
    "INTERFACE",
    "POOL",
    "RELAY_ADDRESS",
    "SERVER_ADDRESS",
    "Topology",
]

# Every lab has the same addresses, since no lab sees another.
DHCP_ADDRESS = "10.44.0.1"
SERVER_ADDRESS = "10.44.0.2"
RELAY_ADDRESS = "10.44.0.3"
POOL = ("10.44.0.100", "10.44.0.199", "255.255.255.0")
DHCP_ADDRESS_6 = "fd44::1"
BRIDGE = "br0"
INTERFACE = "eth1"  # the lab's network, as seen in every namespace around the switch


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
        bridge = ["link", "add", "name", BRIDGE, "type", "bridge"]
        self.switch.ip(*bridge, "stp_state", "0", "forward_delay", "0")
        self.switch.ip("link", "set", BRIDGE, "up")
        self.join("dhcp", f"{DHCP_ADDRESS}/24")
        self.dhcp.ip("address", "add", f"{DHCP_ADDRESS_6}/64", "dev", INTERFACE, "nodad")
        self.join("server", f"{SERVER_ADDRESS}/24")

    def join(self, name: str, address: str = "") -> Namespace:
        """Make a namespace joined to the switch by its ``eth1``, with ``address`` if given.

        Raises HarnessError when the lab has one of this name.
        """
        namespace = self.namespace(name)
        port = f"to-{name}"
        if len(port) > 15:
            raise HarnessError(f"{name!r} is too long: at most 12 characters")
        namespace.create()
        peer = ["peer", "name", INTERFACE, "netns", namespace.name]
        self.switch.ip("link", "add", "name", port, "type", "veth", *peer)
        self.switch.ip("link", "set", port, "master", BRIDGE, "up")
        namespace.ip("link", "set", INTERFACE, "up")
        if address:
            namespace.ip("address", "add", address, "dev", INTERFACE)
        return namespace

    def add_tap(self) -> str:
        """Make a tap on the switch and return its name; two processes never get the same."""
        number = 0
        while True:
            try:
                (self._taps / f"tap{number}").mkdir()
                break
            except FileExistsError:
                number += 1
        name = f"tap{number}"
        self.switch.ip("tuntap", "add", "dev", name, "mode", "tap")
        self.switch.ip("link", "set", name, "master", BRIDGE, "up")
        return name

    def remove_tap(self, name: str) -> None:
        """Remove a tap of add_tap()."""
        self.switch.ip("link", "del", name)
        shutil.rmtree(self._taps / name)
