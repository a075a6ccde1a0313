"""A node's script is for the iPXE that runs there, as its own DHCP (option 175) described it."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import UDP
from vm_harness.lab import Lab

from bootserve.wire.dhcp import DhcpPacket, build, parse
from tests.service.conftest import Servers
from tests.support.api import Admin
from tests.support.curl import curl
from tests.support.dhcp import DISCOVER, MAC, Wire, wire

VERSION = b"\xeb\x03\x01\x15\x01"
HTTP, BZIMAGE, EFI = b"\x13\x01\x01", b"\x18\x01\x01", b"\x24\x01\x01"
WARNING = "bootserve: this iPXE 1.21.1 says that it cannot start a Linux kernel"


def ipxe(features: bytes) -> DhcpPacket:
    """The DISCOVER of an iPXE 1.21.1 that has these features."""
    told = {77: b"iPXE", 175: VERSION + features}
    return replace(DISCOVER, options={**DISCOVER.options, **told})


async def answer(node: Wire) -> bytes:
    """The next DHCP message that some server sends."""
    while (frame := await node.receive(60))[UDP].dport != 68:
        pass
    return bytes(frame[UDP].payload)


async def test_the_script_says_when_this_ipxe_lacks_what_linux_needs(
    lab: Lab, servers: Servers
) -> None:
    server = servers.start()
    Admin(server.state_dir).bring_in(MAC)
    client = lab.client("ipxe", "10.44.0.64")
    client.ip("link", "set", "eth1", "address", MAC)  # who asks for a script must be the node
    path = f"/boot/{MAC.replace(':', '-')}.ipxe"
    assert WARNING not in curl(client, f"{path}?preview=1").text  # nothing was heard of it yet
    told = []
    with wire(client.name, "eth1") as node:
        for xid, features in enumerate((HTTP, HTTP + BZIMAGE, HTTP + EFI, HTTP)):
            node.send(build(replace(ipxe(features), xid=xid)))
            while (reply := parse(await answer(node))).xid != xid or 67 not in reply.options:
                pass
            script = curl(client, path).text
            assert "bootserve: node n1 boots web@1" in script
            assert (WARNING in script) == ("bootserve nbp pin node/n1 NBP" in script)
            told.append(WARNING in script)
    assert told == [True, False, False, True]
