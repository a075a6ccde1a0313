"""The TFTP codec against the RFCs' formats, against scapy and against random bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.tftp import (
    TFTP,
    TFTP_ACK,
    TFTP_DATA,
    TFTP_ERROR,
    TFTP_OACK,
    TFTP_RRQ,
    TFTP_WRQ,
    TFTP_Option,
    TFTP_Options,
)

from bootserve.errors import PacketError
from bootserve.wire.tftp_packets import (
    MAX_REQUEST,
    Ack,
    Data,
    Error,
    OptionAck,
    Options,
    Packet,
    Request,
    ack_block,
    parse,
)

words = st.integers(0, 0xFFFF)
# Any byte but NUL, as Latin-1; short enough that a request of them all fits 512 bytes.
texts = st.text(st.characters(min_codepoint=1, max_codepoint=0xFF), max_size=40)
names = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz-0123456789"), min_size=1, max_size=16)
option_lists: st.SearchStrategy[Options] = st.dictionaries(names, texts, max_size=6).map(
    lambda options: tuple(options.items())
)
modes = st.sampled_from(["octet", "netascii", "mail", ""])
requests = st.builds(Request, texts, modes, option_lists, st.booleans())
packets: st.SearchStrategy[Packet] = st.one_of(
    requests,
    st.builds(Data, words, st.binary(max_size=1500)),
    st.builds(Ack, words),
    st.builds(Error, words, texts),
    st.builds(OptionAck, option_lists),
)


@given(packets)
def test_what_is_built_is_parsed_back(packet: Packet) -> None:
    assert parse(packet.to_bytes()) == packet


def check_read(packet: Packet, data: bytes) -> None:
    """Everything in ``packet`` was in ``data``, and it stays the same when it is sent on."""
    assert int.from_bytes(data[:2], "big") == int.from_bytes(packet.to_bytes()[:2], "big")
    assert parse(packet.to_bytes()) == packet
    match packet:
        case Data() | Ack():
            assert packet.to_bytes() == data[: len(packet.to_bytes())]
        case Error():
            assert packet.message.encode("latin-1") in data
        case Request():
            assert packet.filename.encode("latin-1") + b"\0" in data
        case OptionAck():
            assert all(value.encode("latin-1") + b"\0" in data for _, value in packet.options)


@given(st.binary(max_size=600))
def test_random_bytes_give_a_packet_or_a_packet_error(data: bytes) -> None:
    try:
        packet = parse(data)
    except PacketError:
        return
    check_read(packet, data)


@given(st.sampled_from(range(1, 7)), st.binary(max_size=600))
def test_a_known_opcode_with_random_bytes_gives_a_packet_or_a_packet_error(
    opcode: int, rest: bytes
) -> None:
    try:
        packet = parse(bytes((0, opcode)) + rest)
    except PacketError:
        return
    assert parse(packet.to_bytes()) == packet


@given(packets, st.data())
def test_a_truncated_packet_gives_a_packet_or_a_packet_error(
    packet: Packet, data: st.DataObject
) -> None:
    whole = packet.to_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        read = parse(cut)
    except PacketError:
        return
    check_read(read, cut)
    # the opcode, which says what it is, comes first; only what is last can have lost its end
    assert type(read) is type(packet)


def scapy_bytes(packet: Packet) -> bytes:
    """Return ``packet`` as scapy builds it."""
    match packet:
        case Request():
            layer = TFTP_WRQ if packet.write else TFTP_RRQ
            built = TFTP() / layer(
                filename=packet.filename.encode("latin-1"), mode=packet.mode.encode()
            )
            return bytes(built) + scapy_options(packet.options)
        case Data():
            return bytes(TFTP() / TFTP_DATA(block=packet.block) / packet.payload)
        case Ack():
            return bytes(TFTP() / TFTP_ACK(block=packet.block))
        case Error():
            message = packet.message.encode("latin-1")
            return bytes(TFTP() / TFTP_ERROR(errorcode=packet.code, errormsg=message))
        case OptionAck():
            return bytes(TFTP() / TFTP_OACK()) + scapy_options(packet.options)


def scapy_options(options: Options) -> bytes:
    listed = [
        TFTP_Option(oname=name.encode("latin-1"), value=value.encode("latin-1"))
        for name, value in options
    ]
    return bytes(TFTP_Options(options=listed))


@given(packets)
def test_scapy_builds_the_same_bytes(packet: Packet) -> None:
    assert scapy_bytes(packet) == packet.to_bytes()


@given(requests)
def test_scapy_reads_the_same_request(request_: Request) -> None:
    seen = TFTP(request_.to_bytes())
    layer = seen[TFTP_WRQ if request_.write else TFTP_RRQ]
    assert layer.filename == request_.filename.encode("latin-1")
    assert layer.mode == request_.mode.encode()
    options = seen[TFTP_Options].options if request_.options else []
    assert [(o.oname.decode("latin-1"), o.value.decode("latin-1")) for o in options] == list(
        request_.options
    )


def test_the_request_of_ovmf() -> None:
    data = b"\0\1snponly.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0"
    assert parse(data) == Request(
        "snponly.efi", "octet", (("tsize", "0"), ("blksize", "1468"), ("windowsize", "4"))
    )


def test_rfc2347_option_names_and_modes_are_case_insensitive() -> None:
    data = b"\0\1File\0OcTeT\0BlkSize\x001024\0"
    assert parse(data) == Request("File", "octet", (("blksize", "1024"),))


def test_rfc2347_of_an_option_given_twice_the_first_counts() -> None:
    data = b"\0\1f\0octet\0blksize\x008\0BLKSIZE\x009\0"
    assert parse(data) == Request("f", "octet", (("blksize", "8"),))


def test_a_request_padded_with_nuls_is_read() -> None:
    data = Request("f", "octet", (("blksize", "512"),)).to_bytes() + bytes(100)
    assert parse(data) == Request("f", "octet", (("blksize", "512"),))


def test_an_error_without_its_nul_or_message_is_read() -> None:
    assert parse(b"\0\5\0\x08aborted") == Error(8, "aborted")
    assert parse(b"\0\5\0\x08") == Error(8, "")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "too short"),
        (b"\0", "too short"),
        (b"\0\0x\0octet\0", "not a TFTP operation"),
        (b"\0\7", "not a TFTP operation"),
        (b"\1\1f\0octet\0", "not a TFTP operation"),
        (b"\0\1", "file name is not terminated"),
        (b"\0\1" + b"a" * 400, "file name is not terminated"),
        (b"\0\1f\0", "mode is missing"),
        (b"\0\1f\0octet", "mode is missing or not terminated"),
        (b"\0\2f\0octet\0blksize", "option is not terminated"),
        (b"\0\1f\0octet\0blksize\0", "option has no value"),
        (b"\0\1f\0octet\0blksize\x00512", "option is not terminated"),
        (b"\0\1" + b"a" * MAX_REQUEST + b"\0octet\0", "longer than 512"),
        (b"\0\3\0", "within its header"),
        (b"\0\4", "within its header"),
        (b"\0\5\1", "within its header"),
        (b"\0\6a", "option is not terminated"),
    ],
)
def test_what_is_malformed_is_named(data: bytes, says: str) -> None:
    with pytest.raises(PacketError, match=says):
        parse(data)


@pytest.mark.parametrize("text", ["a\0b", "\N{EURO SIGN}"])
def test_what_cannot_be_said_in_a_packet_is_refused(text: str) -> None:
    for packet in (Request(text), Error(0, text), OptionAck((("blksize", text),))):
        with pytest.raises(PacketError, match="cannot be said"):
            packet.to_bytes()


@given(st.one_of(st.binary(max_size=8), words.map(lambda block: Ack(block).to_bytes())))
def test_the_short_cut_for_acks_agrees_with_the_parser(data: bytes) -> None:
    try:
        packet = parse(data)
    except PacketError:
        packet = Error(0)
    assert ack_block(data) == (packet.block if isinstance(packet, Ack) else -1)
