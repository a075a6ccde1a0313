"""Two interfaces, one server: each segment is told its own address, and nothing of the other."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.server import BootServer
from vm_harness.topology import HOME, Segment

from bootserve.wire.dhcp import DhcpPacket, build, parse
from bootserve.wire.tftp_packets import Request
from tests.service.test_bad_starts import fails
from tests.support.api import Admin
from tests.support.curl import curl
from tests.support.dhcp import DISCOVER, MAC, REQUEST, Wire, until, wire
from tests.support.netns import inside

PATH = f"/boot/{MAC.replace(':', '-')}.ipxe"


@dataclass
class Side:
    """One segment, with a client on it that has the node's MAC."""

    segment: Segment
    client: Namespace
    base: str


@pytest.fixture(scope="module")
def sides(lab: Lab) -> list[Side]:
    return [_side(lab, segment) for segment in (HOME, lab.add_segment())]


def _side(lab: Lab, segment: Segment) -> Side:
    client = lab.client(f"node{segment.number}", segment.address(50), segment=segment)
    client.ip("link", "set", segment.interface, "address", MAC)
    return Side(segment, client, f"http://{segment.address(2)}:8080")


@pytest.fixture(scope="module")
def server(
    lab: Lab, sides: list[Side], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BootServer]:
    folder = tmp_path_factory.mktemp("segments")
    other = sides[1].segment.interface
    server = lab.bootserve(state_dir=folder / "state", arguments=["--interface", other]).start()
    admin = Admin(server.state_dir)
    admin.bring_in(MAC)
    yield server
    server.stop()


@pytest.mark.parametrize("number", [0, 1])
async def test_an_offer_names_the_address_of_its_own_segment(
    sides: list[Side], server: BootServer, number: int
) -> None:
    side, other = sides[number], sides[1 - number]
    with (
        wire(side.client.name, side.segment.interface) as here,
        wire(other.client.name, other.segment.interface) as there,
    ):
        http = {**DISCOVER.options, 60: b"HTTPClient:Arch:00016", 93: b"\0\x10"}
        for packet in (DISCOVER, replace(DISCOVER, options=http)):
            here.send(build(packet))
            offer = await _ours(here, side)
            assert offer.options[54] == offer.siaddr == _packed(side.segment.address(2))
        assert offer.options[67] == f"{side.base}/nbp/ipxe.efi".encode()
        with pytest.raises(TimeoutError):
            await there.receive(0.5)


async def _ours(wire: Wire, side: Side) -> DhcpPacket:
    """Return the next offer that bootserve sends; the segment's DHCP server answers too."""
    while True:
        frame = await wire.receive()
        if frame[IP].src == side.segment.address(2):
            return parse(bytes(frame[UDP].payload))


def _packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))


@pytest.mark.parametrize("number", [0, 1])
def test_a_script_names_the_address_that_it_was_asked_for_at(
    sides: list[Side], server: BootServer, number: int
) -> None:
    side, other = sides[number], sides[1 - number]
    script = curl(side.client, PATH, base=side.base).text
    assert f"{side.base}/artifacts/sha256/" in script
    assert f"bootserve.server={side.base}" in script
    assert other.base not in script


@pytest.mark.parametrize("number", [0, 1])
def test_the_nbp_comes_by_tftp_from_each(
    sides: list[Side], server: BootServer, number: int, tmp_path: Path
) -> None:
    side = sides[number]
    got = tmp_path / "got"
    url = f"tftp://{side.segment.address(2)}/undionly.kpxe"
    side.client.run(["curl", "-sS", "--max-time", "20", "-o", str(got), url])
    assert got.read_bytes() == Path("/usr/lib/ipxe/undionly.kpxe").read_bytes()


def test_each_segment_has_its_own_neighbours(
    lab: Lab, sides: list[Side], server: BootServer
) -> None:
    for side in sides:
        address = side.segment.address(60)
        stranger = lab.client(f"else{side.segment.number}", address, segment=side.segment)
        answer = curl(stranger, PATH, base=side.base)
        assert answer.status == 403
        assert "which is not node n1's" in answer.text


def test_the_boots_of_both_are_in_one_record(sides: list[Side], server: BootServer) -> None:
    for side in sides:
        assert curl(side.client, PATH, base=side.base).status == 200
    boots = Admin(server.state_dir).call("GET", "/boots?node=n1")["boots"]
    assert {boot["address"] for boot in boots} == {s.segment.address(50) for s in sides}
    status = Admin(server.state_dir).call("GET", "/status")
    assert [one["http_base"] for one in status["segments"]] == [side.base for side in sides]


def test_one_segment_does_not_answer_on_the_other(sides: list[Side], server: BootServer) -> None:
    """The kernel would pass packets for any of its addresses on; the sockets' binding must not."""
    client = sides[0].client
    client.ip("route", "replace", f"{sides[1].segment.address(2)}/32", "via", HOME.address(2))
    done = client.run(
        ["sh", "-c", f"curl -sS --max-time 3 {sides[1].base}{PATH} && echo answered || true"]
    )
    assert "answered" not in done


async def test_sigterm_ends_it_within_five_seconds_whoever_is_slow(
    sides: list[Side], server: BootServer, tmp_path: Path
) -> None:
    admin, size = Admin(server.state_dir), 32 << 20  # more than sockets take
    admin.publish("big", "1", root=bytes(size))
    digest = hashlib.sha256(bytes(size)).hexdigest()
    socket = ["--unix-socket", str(server.state_dir / "admin.sock")]
    slow = [[f"{side.base}/artifacts/sha256/{digest}"] for side in sides]
    slow.append([*socket, f"http://bootserve/api/v1/artifacts/{digest}"])
    with contextlib.ExitStack() as stack:
        for number, words in enumerate(slow):
            got = tmp_path / str(number)
            out = stack.enter_context(got.open("wb"))
            client = sides[number % 2].client
            curl = client.spawn(["curl", "-sSN", "--limit-rate", "1000", *words], log=out)
            stack.callback(curl.wait)
            stack.callback(curl.kill)
            await until(lambda got=got: got.stat().st_size > 0)  # type: ignore[misc]
        began = len(server.log_text())
        stack.callback(server.start)
        assert server.terminate(timeout=60) == 0
    lines = server.log_text()[began:].splitlines()
    said = [json.loads(line) for line in lines if line.startswith("{")]
    times = {line["event"]: datetime.fromisoformat(line["timestamp"]) for line in said}
    assert (times["stopped"] - times["stopping"]).total_seconds() < 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--interface", "eth1"], "interface eth1 is given twice"),
        (
            ["--interface", "eth3", "--address", "eth3=10.44.0.2"],
            "interface eth3 does not have the address 10.44.0.2",
        ),
        (["--interface", "eth3", "--address", "10.44.2.2"], "eth3=10.44.2.2"),
        (["--interface", "eth3", "--address", "eth4=10.44.2.2"], "eth4 is none of the interfaces"),
        (["--interface", "eth8"], "there is no interface eth8"),
    ],
)
def test_interfaces_that_cannot_be_served_together(
    lab: Lab, sides: list[Side], tmp_path: Path, arguments: list[str], words: str
) -> None:
    said = fails(lab.bootserve(state_dir=tmp_path / "state", arguments=arguments))
    assert words in said


def test_two_interfaces_with_one_address_cannot_be_told_apart(
    lab: Lab, sides: list[Side], tmp_path: Path
) -> None:
    server = lab.network.server
    server.ip("address", "add", "10.44.0.2/32", "dev", "eth3")
    try:
        arguments = ["--interface", "eth3", "--address", "eth3=10.44.0.2"]
        said = fails(lab.bootserve(state_dir=tmp_path / "state", arguments=arguments))
    finally:
        server.ip("address", "del", "10.44.0.2/32", "dev", "eth3")
    assert "interfaces eth1 and eth3 would both advertise 10.44.0.2" in said


@pytest.mark.matrix
async def test_a_node_whose_first_replies_were_lost_is_answered_once_it_starts_anew(
    sides: list[Side], server: BootServer
) -> None:
    side = sides[1]  # where nothing else asks by TFTP as long
    asked = Request("undionly.kpxe").to_bytes()
    address = side.segment.address(51)
    side.client.ip("address", "add", f"{address}/24", "dev", side.segment.interface)
    with inside(side.client.name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tftp:
        tftp.bind((address, 0))
        tftp.settimeout(1.0)

        def ask() -> int:
            """Ask, never answer, and return how many datagrams came in a second."""
            tftp.sendto(asked, (side.segment.address(2), 69))
            came = 0
            with contextlib.suppress(TimeoutError):
                while tftp.recv(600):
                    came += 1
            return came

        assert sum(ask() for _ in range(8)) == 3
        with wire(side.client.name, side.segment.interface) as here:
            here.send(build(DISCOVER))
            await _ours(here, side)
            own = {50: _packed(address), 54: _packed(side.segment.address(1))}
            here.send(build(replace(REQUEST, options={**REQUEST.options, **own})))
        began = time.monotonic()
        while ask() == 0:
            assert time.monotonic() < began + 60
