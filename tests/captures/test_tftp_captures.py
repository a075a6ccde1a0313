"""Every TFTP packet that real firmware sent and got: our codec, scapy and the text agree."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scapy.layers.tftp import (
    TFTP,
    TFTP_ACK,
    TFTP_ERROR,
    TFTP_OACK,
    TFTP_RRQ,
    TFTP_Options,
)

from bootserve.wire.tftp_packets import Ack, Data, Error, OptionAck, Options, Packet, Request, parse
from tests.captures.pcap import Datagram, read_pcap

CAPTURE = Path(__file__).parent / "tftp-uefi.pcap"
SERVER = "10.77.0.1:69"


def text_of(datagram: Datagram) -> str:
    """Return one line; of a block's bytes, how many they are and the start of their sha256."""
    packet = parse(datagram.payload)
    said = str(packet)
    if isinstance(packet, Data):
        digest = hashlib.sha256(packet.payload).hexdigest()[:16]
        said = f"Data(block={packet.block}) of {len(packet.payload)} bytes, sha256 {digest}…"
    return f"{datagram.at:.3f} s  {datagram.source} -> {datagram.destination}  {said}\n"


def by_scapy(payload: bytes) -> Packet:
    """Return what scapy reads, in our types."""
    packet = TFTP(payload)
    match packet.payload:
        case TFTP_RRQ() as found:
            return Request(found.filename.decode(), found.mode.decode(), _options(packet))
        case TFTP_OACK():
            return OptionAck(_options(packet))
        case TFTP_ERROR() as found:
            return Error(found.errorcode, found.errormsg.rstrip(b"\0").decode())
        case TFTP_ACK() as found:
            return Ack(found.block)
        case found:
            return Data(found.block, bytes(found.payload))


def _options(packet: TFTP) -> Options:
    found = packet[TFTP_Options].options if packet.haslayer(TFTP_Options) else []
    return tuple((one.oname.decode(), one.value.decode()) for one in found)


def test_the_parsed_text_is_the_committed_one(rewrite_golden: bool) -> None:
    text = "".join(map(text_of, read_pcap(CAPTURE)))
    golden = CAPTURE.with_suffix(".txt")
    if rewrite_golden:
        golden.write_text(text)
    assert text == golden.read_text()


def test_scapy_reads_the_same() -> None:
    datagrams = list(read_pcap(CAPTURE))
    ours = [parse(one.payload) for one in datagrams]
    assert ours == [by_scapy(one.payload) for one in datagrams]
    kinds = {type(packet) for packet in ours}
    assert kinds == {Request, OptionAck, Error, Ack, Data}


def test_what_is_parsed_builds_back() -> None:
    for datagram in read_pcap(CAPTURE):
        assert parse(parse(datagram.payload).to_bytes()) == parse(datagram.payload)


def test_a_uefi_client_asks_for_the_size_first_and_then_for_a_window() -> None:
    sent = [parse(one.payload) for one in read_pcap(CAPTURE) if one.destination == SERVER]
    sizes, aborted, again = sent[:3]
    assert isinstance(sizes, Request)
    assert isinstance(aborted, Error)
    assert isinstance(again, Request)
    assert dict(sizes.options)["tsize"] == "0"
    assert again.options == (("blksize", "1468"), ("windowsize", "4"))
