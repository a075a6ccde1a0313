"""What is fuzzed of single parsers: packets, names, manifests, the journal, quirks."""

from __future__ import annotations

import struct

from bootserve.core.offers import Ignored, OfferSettings, OfferTarget, answer
from bootserve.core.quirks import parse_quirks
from bootserve.errors import InvalidInput, PacketError
from bootserve.model.generation import GenerationRef, parse_manifest
from bootserve.model.names import Mac, check_kernel_args, check_name, parse_mac
from bootserve.store.journal_line import decode_line, decode_record, encode_line
from bootserve.wire import dhcp, tftp_packets
from bootserve.wire.pxe import ClientArch, NotBootClient, classify
from bootserve.wire.tftp_options import Limits, negotiate
from bootserve.wire.tftp_transfer import ReadTransfer
from tests.fuzz import seeds
from tests.fuzz.target import Target, joined

__all__ = ["TARGETS"]

MTU_PAYLOAD = 1472
CONTENT = bytes(range(256)) * 40
UNANSWERED = 3
"""Datagrams at most to an address that has not answered."""


def dhcp_message(data: bytes) -> None:
    """Whatever is read can be written and is read the same again; no client class breaks it."""
    try:
        packet = dhcp.parse(data)
    except PacketError:
        return
    client = classify(packet)
    assert isinstance(client, NotBootClient) or parse_mac(client.mac) == client.mac
    try:
        again = dhcp.build(packet)
    except PacketError:
        return
    if len(again) <= dhcp.MAX_PACKET:
        assert dhcp.parse(again) == packet


def _settings(*, unknown: bool, shape: str) -> OfferSettings:
    nbps = {arch: f"{arch.value}.efi" for arch in ClientArch}
    return OfferSettings(
        "10.77.0.1",
        "http://10.77.0.1:8080",
        nbps,
        answer_unknown=unknown,
        shape="binl" if shape == "binl" else "pxe10",
    )


OFFERS = [
    _settings(unknown=unknown, shape=shape) for unknown in (False, True) for shape in ("a", "binl")
]


def offer(data: bytes) -> None:
    """The first byte chooses port and settings; a reply is a whole DHCP message to that client."""
    if not data:
        return
    settings = OFFERS[data[0] & 3]
    port = 4011 if data[0] & 4 else 67

    def lookup(mac: Mac) -> OfferTarget | None:
        return OfferTarget("n1", nbp="snponly.efi") if int(mac[-1], 16) & 1 else None

    outcome = answer(data[1:], port=port, settings=settings, lookup=lookup)
    if isinstance(outcome, Ignored):
        assert outcome.reason
        return
    reply, asked = dhcp.parse(outcome.data), outcome.packet
    assert (reply.op, reply.xid, reply.chaddr) == (dhcp.BOOTREPLY, asked.xid, asked.chaddr)
    assert reply.yiaddr == dhcp.NO_ADDRESS
    assert reply.options[dhcp.OPT_SERVER_ID] == bytes((10, 77, 0, 1))
    assert len(outcome.data) <= MTU_PAYLOAD + len(asked.options.get(dhcp.OPT_RELAY_AGENT, b""))


def tftp_packet(data: bytes) -> None:
    """Whatever is read can be written and is read the same again."""
    try:
        packet = tftp_packets.parse(data)
    except PacketError:
        assert tftp_packets.ack_block(data) == -1
        return
    if isinstance(packet, tftp_packets.Ack):
        assert tftp_packets.ack_block(data) == packet.block
    if isinstance(packet, tftp_packets.Request):
        terms = negotiate(packet.options, len(CONTENT), Limits())
        asked = dict(packet.options)
        assert 8 <= terms.blksize <= Limits().blksize
        assert all(name in asked for name, _ in terms.granted)
    assert tftp_packets.parse(packet.to_bytes()) == packet


def tftp_session(data: bytes) -> None:
    """A request and what the client says then: every DATA is the file's, and none is too many."""
    pieces = list(seeds.pieces(data))[:200]
    try:
        request = tftp_packets.parse(pieces[0]) if pieces else None
    except PacketError:
        return
    if not isinstance(request, tftp_packets.Request) or request.write:
        return
    terms = negotiate(request.options, len(CONTENT), Limits())
    transfer, now, sent = ReadTransfer(CONTENT, terms, 0.0), 0.0, 0
    sent += _check_sent(transfer, transfer.start(now))
    for piece in pieces[1:]:
        now = now + 0.01 if piece else max(now, transfer.deadline)
        if not piece:
            out = transfer.handle_timer(now)
        elif piece == pieces[0]:
            out = transfer.request_again(now)
        else:
            try:
                out = transfer.receive(tftp_packets.parse(piece), now)
            except PacketError:
                continue
        if piece != pieces[0]:
            sent += _check_sent(transfer, out)
        assert transfer.answered or sent <= UNANSWERED
        assert 0 <= transfer.bytes_acknowledged <= len(CONTENT)
    assert not transfer.finished or not transfer.handle_timer(now + 1000.0)


def _check_sent(transfer: ReadTransfer, out: object) -> int:
    packets = [joined(one) for one in out] if isinstance(out, list | tuple) else []
    assert len(packets) <= transfer.terms.windowsize
    size = transfer.terms.blksize
    for packet in packets:
        read = tftp_packets.parse(packet)
        if isinstance(read, tftp_packets.Data):
            assert read.payload == CONTENT[(read.block - 1) * size : read.block * size]
    return len(packets)


def names(data: bytes) -> None:
    """Names, MACs, generations and kernel arguments: accepted ones are stable, all else refused."""
    text = data.decode("utf-8", "replace")
    for read in (parse_mac, check_name, check_kernel_args):
        try:
            once = read(text)
        except InvalidInput:
            continue
        assert read(once) == once
        assert once.isprintable()
    try:
        ref = GenerationRef.parse(text)
    except InvalidInput:
        return
    assert GenerationRef.parse(str(ref)) == ref


def manifest(data: bytes) -> None:
    """A manifest is refused, or has one digest however often it is read and written."""
    try:
        read = parse_manifest(data)
    except InvalidInput:
        return
    assert parse_manifest(read.to_bytes()) == read
    assert parse_manifest(read.to_bytes()).digest == read.digest


def journal(data: bytes) -> None:
    """A line of the journal, after a crash or a bad disk: nothing but a whole one is a record."""
    line = decode_line(data)
    record = decode_record(line[1] if line else data)
    if record is not None:
        again = decode_line(encode_line(1, record))
        assert again is not None
        assert decode_record(again[1]) == record


def quirk_file(data: bytes) -> None:
    """An administrator's quirks: refused with what is wrong, never with a traceback."""
    said = "quirks.toml"
    try:
        parse_quirks(data.decode("utf-8", "replace"), "quirks.toml")
    except InvalidInput as error:
        said = str(error)
    assert "quirks.toml" in said


_ACKS = [struct.pack(">HH", 4, block) for block in range(30)]
_RRQ = b"\0\1ipxe.efi\0octet\0"
_MANIFEST = (
    b'{"image":"web","arch":"amd64","artifacts":{"kernel":{"sha256":"%b","size":1},"initrd":'
    b'{"sha256":"%b","size":1},"root":{"sha256":"%b","size":1}},"cmdline":"quiet"}'
    % (b"0" * 64, b"1" * 64, b"2" * 64)
)
_LINES = [
    b'{"kind":"token","boot":"b","hash":"h","at":1.0}',
    b'{"kind":"phase","boot":"b","phase":"up","at":1.0,"detail":"d"}',
    b'{"kind":"gap","count":1,"first_at":1.0,"last_at":2.0}',
]

TARGETS: dict[str, Target] = {
    "dhcp": Target(dhcp_message, lambda: seeds.datagrams(67, 68, 4011)),
    "offer": Target(
        offer,
        lambda: [bytes((n,)) + one for n in range(8) for one in seeds.datagrams(67, 4011)],
    ),
    "tftp": Target(
        tftp_packet,
        lambda: [*seeds.datagrams(69), _RRQ, *_ACKS[:3],
                 _RRQ + b"tsize\x000\0blksize\x001468\0windowsize\x004\0",
                 b"\0\3\0\1data", b"\0\5\0\0stop\0", b"\0\6blksize\x001024\0"],
    ),
    "tftp-session": Target(
        tftp_session,
        lambda: [seeds.session(*seeds.datagrams(69)[:2]),  # OVMF asks for the size alone, then
                 seeds.session(*seeds.datagrams(69)[2:]),
                 seeds.session(_RRQ, *_ACKS[1:]),
                 seeds.session(_RRQ + b"blksize\x001024\0windowsize\x004\0", *_ACKS[::4]),
                 seeds.session(_RRQ, b"", b"", b"", b""),
                 seeds.session(_RRQ + b"tsize\x000\0", b"\0\5\0\0probe\0")],
    ),
    "names": Target(
        names, lambda: [b"52:54:00:12:34:56", b"5254.0012.3456", b"n1", b"web@41", b"console=ttyS0"]
    ),
    "manifest": Target(manifest, lambda: [_MANIFEST]),
    "journal": Target(journal, lambda: _LINES),
    "quirks": Target(quirk_file, lambda: [b'[[quirk]]\noui = "b8:27:eb"\nshape = "binl"\n']),
}  # fmt: skip
