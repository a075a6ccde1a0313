"""A server learns which shape of offer a node takes, and still knows it after any restart."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import replace

import pytest
from scapy.layers.inet import UDP
from vm_harness.lab import Lab

from bootserve.model.shape import LearnedShape
from bootserve.store.shape_file import load_shapes
from bootserve.wire.dhcp import DhcpPacket, build, parse
from tests.service.conftest import Servers
from tests.support.api import Admin
from tests.support.dhcp import DISCOVER, MAC, REQUEST, Wire, wire
from tests.support.netns import inside

PXE10 = b"\x06\x01\x08\xff"
OWN_QUIRK = '[[quirk]]\nname = "own"\nsource = "seen here"\nshape = "binl"\n'
UNHEARD, OTHER_MAKE = "52:54:00:12:34:57", "02:00:00:12:34:56"


async def offered(client: Wire, packet: DhcpPacket) -> str:
    """Send a DISCOVER; return the shape of the offer that it is answered with."""
    client.send(build(packet))
    while True:
        reply = parse(bytes((await client.receive())[UDP].payload))
        if reply.op == 2 and reply.options[54] == socket.inet_aton("10.44.0.2"):
            return "pxe10" if reply.options.get(43) == PXE10 else "binl"


async def test_what_a_node_takes_is_known_after_a_restart_with_and_without_the_database(
    lab: Lab, servers: Servers
) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    admin.call("POST", "/nodes", name="n1", macs=[MAC])
    name = lab.client("shape", "10.44.0.61").name
    with wire(name, "eth1") as client:
        shapes = []
        for pause in (0.0, 3.3, 3.4):  # the pattern, as fast as it is told from a healthy iPXE's
            await asyncio.sleep(pause)
            shapes.append(await offered(client, DISCOVER))
        assert shapes == ["pxe10", "pxe10", "binl"]
        assert admin.call("GET", "/nodes/n1/explain")["offers"][0]["source"] == "trial"
        with inside(name):
            asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with asking:
            asking.settimeout(10)
            request = replace(REQUEST, ciaddr=socket.inet_aton("10.44.0.61"))
            asking.sendto(build(request), ("10.44.0.2", 4011))
            assert parse(asking.recv(2048)).options[67] == b"ipxe.efi"
        [offer] = admin.call("GET", "/nodes/n1/explain")["offers"]
        assert (offer["mac"], offer["shape"], offer["source"]) == (MAC, "binl", "learned")
        assert re.search(r"UEFI PXE offer +binl, learned at 2\d\d\d-", server.cli("explain", "n1"))
        server.terminate()
        learned = [LearnedShape(MAC, "binl", offer["at"])]
        assert load_shapes(server.state_dir / "shapes.json") == (learned, {})

        (server.state_dir / "shapes.json").unlink()
        server.start()
        assert await offered(client, replace(DISCOVER, xid=8)) == "binl"
        server.terminate()
        assert load_shapes(server.state_dir / "shapes.json") == (learned, {})

        (server.state_dir / "bootserve.db").write_bytes(b"this is no database" * 1000)
        server.start()
        assert await offered(client, replace(DISCOVER, xid=9)) == "binl"


async def test_what_is_set_or_a_quirk_is_offered_at_once_and_explained(
    lab: Lab, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    quirks = tmp_path_factory.mktemp("quirks") / "own.toml"
    quirks.write_text(OWN_QUIRK + 'oui = "52:54:00"\n')
    server = servers.start("--quirks-file", str(quirks))
    admin = Admin(server.state_dir)
    admin.call("POST", "/nodes", name="n1", macs=[MAC, UNHEARD, OTHER_MAKE])
    with wire(lab.client("quirk", "10.44.0.62").name, "eth1") as client:
        assert await offered(client, DISCOVER) == "binl"
        first, second, third = admin.call("GET", "/nodes/n1/explain")["offers"]
        assert (first["shape"], first["detail"]) == ("binl", "own: seen here")
        assert second == {**first, "mac": UNHEARD}
        assert (third["shape"], third["source"]) == ("pxe10", "default")
        shown = server.cli("explain", "n1")
        assert f"binl, by quirk own: seen here  (NIC {MAC})\n" in shown
        admin.call("PATCH", "/nodes/n1", shape="pxe10")
        assert await offered(client, replace(DISCOVER, xid=8)) == "pxe10"
        assert "UEFI PXE offer    pxe10, set on the node\n" in server.cli("explain", "n1")


async def test_what_an_ipxe_told_of_the_nic_counts_for_the_firmware_and_after_a_restart(
    lab: Lab, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    quirks = tmp_path_factory.mktemp("quirks") / "own.toml"
    quirks.write_text(OWN_QUIRK + 'bus_id = "01:8086:10fb"\n')
    server = servers.start("--quirks-file", str(quirks))
    Admin(server.state_dir).call("POST", "/nodes", name="n1", macs=[MAC])
    told = {77: b"iPXE", 175: b"\x13\1\1\xb1\5" + bytes.fromhex("01808610fb")}
    ipxe = replace(DISCOVER, xid=8, options={**DISCOVER.options, **told})
    with wire(lab.client("bus", "10.44.0.63").name, "eth1") as client:
        assert await offered(client, DISCOVER) == "pxe10"
        await offered(client, ipxe)
        assert await offered(client, replace(DISCOVER, xid=9)) == "binl"
        assert "binl, by quirk own: seen here\n" in server.cli("explain", "n1")
        server.terminate()
        server.start()
        assert await offered(client, replace(DISCOVER, xid=10)) == "binl"
