"""Every DHCP packet that real firmware sent: our codec, scapy and the committed text agree."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from scapy.layers.dhcp import BOOTP

from bootserve.core.exchanges import Exchanges, NoUsableOffers
from bootserve.core.offers import OfferSettings, OfferTarget, Reply, answer
from bootserve.model.shape import Shape
from bootserve.wire.dhcp import BOOTREQUEST, DhcpPacket, MessageType, build, parse
from bootserve.wire.pxe import ClientArch, FirmwareKind, NotBootClient, PxeClient, classify
from tests.captures.pcap import Datagram, read_pcap

HERE = Path(__file__).parent
CAPTURES = sorted(set(HERE.glob("*.pcap")) - set(HERE.glob("tftp-*")))
MAC = "52:54:00:0b:00:01"
OURS = socket.inet_aton("10.77.0.1")
NBPS = {ClientArch.EFI_X64: "ipxe.efi", ClientArch.EFI_ARM64: "snponly-arm64.efi"}
THEIRS = socket.inet_aton("10.77.0.2")


def text_of(datagram: Datagram) -> str:
    packet = parse(datagram.payload)
    kind = MessageType(packet.message_type).name
    lines = [f"{datagram.at:.3f} s  {datagram.source} -> {datagram.destination}  {kind}"]
    for name in DhcpPacket.__slots__:
        value = getattr(packet, name)
        if name != "options" and value not in (0, b"", bytes(4)):
            lines.append(f"    {name} = {hex(value) if name in ('xid', 'flags') else value}")
    lines += [f"    option {code} = {value!r}" for code, value in packet.options.items()]
    client = classify(packet)
    if isinstance(client, PxeClient):
        lines.append(f"  from {client.kind} {client.arch} {client.uuid} {client.vendor_class}")
        lines.append(f"    undi {client.undi} {client.features}")
    else:
        lines.append(f"  no boot client: {client.reason}")
    return "\n".join(lines) + "\n"


def packets(name: str) -> list[DhcpPacket]:
    path = HERE / f"{name}.pcap"
    return [parse(datagram.payload) for datagram in read_pcap(path)]


def said(name: str) -> list[str]:
    """The course of a capture, in a word for each packet."""
    words = []
    for packet in packets(name):
        client = classify(packet)
        server = packet.options.get(54)
        who = {OURS: "our", THEIRS: "their"}.get(server or b"", "")
        if isinstance(client, PxeClient):
            who = str(client.kind)
        words.append(f"{who} {MessageType(packet.message_type).name}")
    return words


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_the_parsed_text_is_the_committed_one(path: Path, rewrite_golden: bool) -> None:
    text = "\n".join(map(text_of, read_pcap(path)))
    golden = path.with_suffix(".txt")
    if rewrite_golden:
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_scapy_reads_the_same(path: Path) -> None:
    seen = 0
    for datagram in read_pcap(path):
        ours, theirs = parse(datagram.payload), BOOTP(datagram.payload)
        assert (theirs.op, theirs.htype, theirs.hlen, theirs.hops) == (
            ours.op, ours.htype, len(ours.chaddr), ours.hops,
        )  # fmt: skip
        assert (theirs.xid, theirs.secs, int(theirs.flags)) == (ours.xid, ours.secs, ours.flags)
        for name in ("ciaddr", "yiaddr", "siaddr", "giaddr"):
            assert socket.inet_aton(getattr(theirs, name)) == getattr(ours, name)
        assert theirs.chaddr[:6] == ours.chaddr
        assert theirs.sname.rstrip(b"\0") == ours.sname
        assert theirs.file.rstrip(b"\0") == ours.file
        assert scapy_options(theirs) == dict(ours.options)
        seen += 1
    assert seen > 3


def scapy_options(message: BOOTP) -> dict[int, bytes]:
    """Each option's bytes as scapy delimits them, by building its parsed options one at a time."""
    found: dict[int, bytes] = {}
    for option in message[BOOTP].payload.options:
        if option in ("end", "pad"):
            continue
        raw = bytes(type(message.payload)(options=[option]))
        found[raw[0]] = found.get(raw[0], b"") + raw[2 : 2 + raw[1]]
    return found


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_what_is_parsed_builds_back(path: Path) -> None:
    for datagram in read_pcap(path):
        packet = parse(datagram.payload)
        assert parse(build(packet)) == packet


def test_a_uefi_client_takes_a_pxe10_offer_without_asking_4011() -> None:
    assert sorted(said("uefi-pxe10")[1:3]) == ["our OFFER", "their OFFER"]
    assert said("uefi-pxe10")[3:6] == ["pxe REQUEST", "their ACK", "ipxe DISCOVER"]


def test_a_uefi_client_asks_4011_after_a_binl_offer_and_takes_the_file_from_the_ack() -> None:
    assert said("uefi-binl")[3:8] == [
        "pxe REQUEST", "their ACK", "pxe REQUEST", "our ACK", "ipxe DISCOVER",
    ]  # fmt: skip
    offered, asked, acknowledged = (packets("uefi-binl")[at] for at in (0, 5, 6))
    assert asked.xid != offered.xid
    assert asked.ciaddr != bytes(4)
    assert (asked.flags, 54 in asked.options) == (0, False)
    assert acknowledged.file == b"ipxe.efi"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("arm64-pxe10", "pxe10"),
        ("bios-ipxe-rom", "pxe10"),
        ("uefi-binl", "binl"),
        ("uefi-http", "pxe10"),
        ("uefi-pxe10", "pxe10"),
    ],
)
def test_the_answers_are_still_those_that_this_firmware_booted_from(
    name: str, shape: Shape
) -> None:
    settings = OfferSettings("10.77.0.1", "http://10.77.0.1:8080", NBPS, shape=shape)
    asked: list[Datagram] = []
    compared = 0
    for datagram in read_pcap(HERE / f"{name}.pcap"):
        packet = parse(datagram.payload)
        if packet.op == BOOTREQUEST:
            asked.append(datagram)
        elif packet.options[54] == OURS:
            port = int(asked[-1].destination.rpartition(":")[2])
            reply = answer(asked[-1].payload, port=port, settings=settings, lookup=OfferTarget)
            assert isinstance(reply, Reply)
            assert reply.data == datagram.payload
            compared += 1
    assert compared > 0


def test_http_boot_never_asks_4011() -> None:
    assert said("uefi-http")[3:6] == ["http REQUEST", "their ACK", "ipxe DISCOVER"]


def test_ipxe_without_a_file_in_the_offer_asks_4011() -> None:
    assert said("bios-ipxe-4011")[3:] == [
        "ipxe REQUEST", "their ACK", "ipxe REQUEST", "our ACK",
    ]  # fmt: skip


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_every_request_is_from_the_one_machine_whose_uuid_it_names(path: Path) -> None:
    for packet in packets(path.stem):
        client = classify(packet)
        if packet.op == 2:
            assert client == NotBootClient("it is a reply, not a request")
            continue
        assert isinstance(client, PxeClient)
        assert (client.mac, client.uuid) == (MAC, "00112233-4455-6677-8899-aabbccddeeff")
        if client.kind is FirmwareKind.IPXE:
            assert client.features is not None
            assert client.features.http
            assert client.features.version == "1.0.0"
            assert client.features.efi == client.arch.is_efi


@pytest.mark.parametrize(
    ("name", "at"), [("uefi-no-address", (0, 4, 12)), ("bios-no-address", (0, 1, 3, 7))]
)
def test_the_tracker_finds_a_client_without_an_address(name: str, at: tuple[int, ...]) -> None:
    found = findings(name)
    assert len(found) == 1
    assert found[0].mac == MAC
    assert tuple(round(seconds) for seconds in found[0].at) == at


@pytest.mark.parametrize(
    "path", [path for path in CAPTURES if "no-address" not in path.stem], ids=lambda path: path.stem
)
def test_the_tracker_is_quiet_about_a_boot_that_goes_well(path: Path) -> None:
    assert findings(path.stem) == []


def findings(name: str) -> list[NoUsableOffers]:
    exchanges, found = Exchanges(), []
    for datagram in read_pcap(HERE / f"{name}.pcap"):
        packet = parse(datagram.payload)
        if packet.message_type == MessageType.DISCOVER:
            mac, xid, now = packet.mac, packet.xid, datagram.at
            found.append(exchanges.repeats(mac, xid, now, known=True))
            exchanges.offered(mac, xid, now, now, "", known=True)
        elif packet.message_type == MessageType.REQUEST:
            exchanges.requested(packet.mac)
    return [item for item in found if item]
