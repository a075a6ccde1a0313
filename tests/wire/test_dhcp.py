from __future__ import annotations

import socket
import struct
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP, DHCPOptions

from bootserve.errors import PacketError
from bootserve.wire.dhcp import MAX_PACKET, DhcpPacket, build, parse

COOKIE = b"\x63\x82\x53\x63"
DISCOVER = DhcpPacket(
    op=1, xid=0x12345678, chaddr=bytes.fromhex("525400123456"), options={53: b"\1"}
)

addresses = st.binary(min_size=4, max_size=4)
# A NUL ends these fields on the wire.
names = st.binary(max_size=63).map(lambda text: text.replace(b"\0", b"x"))
files = st.binary(max_size=127).map(lambda text: text.replace(b"\0", b"x"))
codes = st.integers(1, 254).filter(lambda code: code != 52)


def options(longest: int) -> st.SearchStrategy[dict[int, bytes]]:
    return st.dictionaries(codes, st.binary(max_size=longest), max_size=5)


# Scapy reads an option that it knows by its type, so those get values that fit it.
options_for_scapy = st.builds(
    lambda known, other: known | other,
    st.fixed_dictionaries(
        {53: st.sampled_from([b"\1", b"\2", b"\3", b"\5"])},
        optional={
            1: addresses,
            54: addresses,
            51: addresses,
            57: st.binary(min_size=2, max_size=2),
        },
    ),
    st.dictionaries(
        codes.filter(lambda code: code not in DHCPOptions),
        st.binary(min_size=1, max_size=255),
        max_size=5,
    ),
)


def packets(values: st.SearchStrategy[dict[int, bytes]]) -> st.SearchStrategy[DhcpPacket]:
    return st.builds(
        DhcpPacket,
        op=st.integers(0, 255),
        xid=st.integers(0, 2**32 - 1),
        chaddr=st.binary(max_size=16),
        options=values,
        htype=st.integers(0, 255),
        hops=st.integers(0, 255),
        secs=st.integers(0, 65535),
        flags=st.integers(0, 65535),
        ciaddr=addresses,
        yiaddr=addresses,
        siaddr=addresses,
        giaddr=addresses,
        sname=names,
        file=files,
    )


def message(
    options: bytes = b"\xff", *, sname: bytes = b"", file: bytes = b"", hlen: int = 6
) -> bytes:
    """A DHCP message laid out by hand, whose options are exactly ``options``."""
    header = struct.pack(
        ">BBBBIHH4s4s4s4s16s64s128s",
        1, 1, hlen, 0, 7, 0, 0, b"", b"", b"", b"", b"\x52\x54\0\0\0\1", sname, file,
    )  # fmt: skip
    return header + COOKIE + options


@given(packets(options(longest=700)))
@example(DISCOVER)
def test_what_is_built_parses_back(packet: DhcpPacket) -> None:
    assert parse(build(packet)) == packet


@given(packets(options_for_scapy))
def test_scapy_reads_what_is_built(packet: DhcpPacket) -> None:
    theirs = BOOTP(build(packet))
    assert (theirs.op, theirs.htype, theirs.hlen, theirs.hops, theirs.xid, theirs.secs) == (
        packet.op, packet.htype, len(packet.chaddr), packet.hops, packet.xid, packet.secs,
    )  # fmt: skip
    assert int(theirs.flags) == packet.flags
    for name in ("ciaddr", "yiaddr", "siaddr", "giaddr"):
        assert socket.inet_aton(getattr(theirs, name)) == getattr(packet, name)
    assert theirs.chaddr == packet.chaddr.ljust(16, b"\0")
    assert theirs.sname == packet.sname.ljust(64, b"\0")
    assert theirs.file == packet.file.ljust(128, b"\0")
    assert theirs.options == COOKIE
    assert scapy_options(theirs) == dict(packet.options)


def scapy_options(theirs: BOOTP) -> dict[int, bytes]:
    """Each option's bytes as scapy delimits them, by building what it parsed one at a time."""
    found = {}
    for option in theirs[DHCP].options:
        if option not in ("end", "pad"):
            raw = bytes(DHCP(options=[option]))
            found[raw[0]] = raw[2:]
            assert len(raw) == 2 + raw[1]
    return found


@given(
    st.integers(0, 2**32 - 1),
    addresses,
    st.binary(min_size=6, max_size=6),
    names,
    files,
    st.dictionaries(st.integers(128, 254), st.binary(min_size=1, max_size=255), max_size=5),
)
def test_what_scapy_builds_parses(
    xid: int, address: bytes, mac: bytes, sname: bytes, file: bytes, options: dict[int, bytes]
) -> None:
    text = socket.inet_ntoa(address)
    data = bytes(
        BOOTP(op=2, hlen=6, xid=xid, yiaddr=text, giaddr=text, flags=0x8000, chaddr=mac,
              sname=sname, file=file)
        / DHCP(options=[("message-type", "offer"), *options.items(), "end"])
    )  # fmt: skip
    assert parse(data) == DhcpPacket(
        op=2, xid=xid, chaddr=mac, options={53: b"\2", **options}, flags=0x8000,
        yiaddr=address, giaddr=address, sname=sname, file=file,
    )  # fmt: skip


@given(st.binary(max_size=600))
def test_random_bytes_raise_nothing_but_packet_error(data: bytes) -> None:
    for attempt in (data, message(data)):
        try:
            packet = parse(attempt)
        except PacketError:
            continue
        assert parse(build(packet)) == packet


@given(packets(options(longest=60)), st.data())
def test_mutated_packets_raise_nothing_but_packet_error(
    packet: DhcpPacket, data: st.DataObject
) -> None:
    whole = bytearray(build(packet))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        again = parse(cut)
    except PacketError:
        return
    assert parse(build(again)) == again


def test_every_truncation_of_a_packet_is_refused_or_holds_a_part_of_its_options() -> None:
    packet = replace(DISCOVER, options={53: b"\1", 60: b"PXEClient", 93: b"\0\7", 97: bytes(17)})
    data = build(packet)
    for size in range(len(data)):
        try:
            part = parse(data[:size])
        except PacketError:
            continue
        assert part.options.items() <= packet.options.items()
        assert size >= 240


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes are too few for a DHCP message (240 at least)"),
        (bytes(239), "239 bytes are too few for a DHCP message (240 at least)"),
        (
            message().ljust(MAX_PACKET + 1, b"\0"),
            "4097 bytes are too many for a DHCP message (4096 at most)",
        ),
        (
            bytes(300),
            "the DHCP magic cookie is missing (plain BOOTP or another protocol)",
        ),
        (message(hlen=17), "a hardware address of 17 bytes does not fit its 16-byte field"),
        (message(b"\x35"), "option 53 overruns the space it is in"),
        (message(b"\x35\1"), "option 53 overruns the space it is in"),
        (message(b"\x35\1\1\x3c\xffPXE"), "option 60 overruns the space it is in"),
        (message(b"\x34\1\0\xff"), "option 52 (overload) is 00, not 1, 2 or 3"),
        (message(b"\x34\1\4\xff"), "option 52 (overload) is 04, not 1, 2 or 3"),
        (message(b"\x34\2\1\1\xff"), "option 52 (overload) is 0101, not 1, 2 or 3"),
        (message(b"\x34\0\xff"), "option 52 (overload) is , not 1, 2 or 3"),
        (
            message(b"\x34\1\1\xff", file=b"\x34\1\2\xff"),
            "option 52 (overload) stands inside an overloaded field",
        ),
        (
            message(b"\x34\1\1\xff", file=b"\x43\x7f" + b"x" * 126),
            "option 67 overruns the space it is in",
        ),
        (
            message(b"\x34\1\2\xff", sname=b"\0" * 63 + b"\x42"),
            "option 66 overruns the space it is in",
        ),
    ],
)
def test_what_rfc_2131_rules_out_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(PacketError) as refused:
        parse(data)
    assert str(refused.value) == said


def test_the_largest_packet_is_read() -> None:
    assert parse(message().ljust(MAX_PACKET, b"\0")).options == {}


def test_options_may_end_without_the_end_option() -> None:
    assert parse(message(b"\x35\1\1")).options == {53: b"\1"}
    assert parse(message(b"")).options == {}


def test_pads_are_skipped_and_nothing_is_read_after_the_end() -> None:
    assert parse(message(b"\0\0\x35\1\1\0\xff\x36\xff")).options == {53: b"\1"}


def test_an_option_in_pieces_is_joined_in_order() -> None:
    assert parse(message(b"\x43\3abc\x35\1\1\x43\2de\xff")).options == {67: b"abcde", 53: b"\1"}


def test_a_long_value_is_written_in_consecutive_pieces() -> None:
    url = b"http://10.0.0.1/" + b"x" * 600
    data = build(replace(DISCOVER, options={67: url, 53: b"\1"}))
    pieces = [url[:255], url[255:510], url[510:]]
    assert data[240:] == b"".join(
        [*(bytes((67, len(piece))) + piece for piece in pieces), b"\x35\1\1\xff"]
    )


def test_overloaded_fields_hold_options_file_before_sname() -> None:
    packet = parse(
        message(b"\x34\1\3\x43\1a\xff", file=b"\x43\1b\x0c\2hi\xff", sname=b"\x43\1c\xff")
    )
    assert (packet.options, packet.file, packet.sname) == ({67: b"abc", 12: b"hi"}, b"", b"")


def test_a_field_that_is_not_overloaded_stays_a_name() -> None:
    packet = parse(message(b"\x34\1\2\xff", file=b"pxe.0", sname=b"\x0c\2hi\xff"))
    assert (packet.options, packet.file, packet.sname) == ({12: b"hi"}, b"pxe.0", b"")


def test_names_end_at_their_first_nul() -> None:
    packet = parse(message(sname=b"boot\0junk", file=b"f" * 128))
    assert (packet.sname, packet.file) == (b"boot", b"f" * 128)


def test_a_packet_is_padded_to_what_bootp_relays_expect() -> None:
    assert build(DISCOVER) == (
        bytes.fromhex("01 01 06 00 12345678 0000 0000") + bytes(16)
        + bytes.fromhex("525400123456").ljust(16, b"\0") + bytes(192)
        + COOKIE + b"\x35\1\1\xff" + bytes(56)
    )  # fmt: skip
    assert len(build(DISCOVER)) == 300


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chaddr": bytes(17)}, "chaddr holds 16 bytes, sname 63 and file 127"),
        ({"sname": b"x" * 64}, "chaddr holds 16 bytes, sname 63 and file 127"),
        ({"file": b"x" * 129}, "chaddr holds 16 bytes, sname 63 and file 127"),
        ({"siaddr": b"\1\2\3"}, "an IPv4 address is four bytes"),
        ({"giaddr": b"\1\2\3\4\5"}, "an IPv4 address is four bytes"),
        ({"options": {0: b""}}, "option code 0 cannot carry a value"),
        ({"options": {52: b"\1"}}, "option code 52 cannot carry a value"),
        ({"options": {255: b""}}, "option code 255 cannot carry a value"),
        ({"options": {256: b""}}, "option code 256 cannot carry a value"),
    ],
)
def test_what_has_no_place_on_the_wire_is_not_built(change: dict[str, bytes], said: str) -> None:
    with pytest.raises(PacketError) as refused:
        build(replace(DISCOVER, **change))  # type: ignore[arg-type]
    assert str(refused.value) == said


@pytest.mark.parametrize("change", [{"xid": 2**32}, {"op": 256}, {"secs": -1}])
def test_a_number_out_of_range_is_not_built(change: dict[str, int]) -> None:
    with pytest.raises(PacketError, match="a field of the DHCP header is out of range"):
        build(replace(DISCOVER, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "expected"), [({53: b"\3"}, 3), ({}, 0), ({53: b""}, 0), ({53: b"\1\1"}, 0)]
)
def test_a_message_type_is_one_byte(value: dict[int, bytes], expected: int) -> None:
    assert replace(DISCOVER, options=value).message_type == expected


@pytest.mark.parametrize(
    ("htype", "chaddr", "expected"),
    [
        (1, "525400123456", "52:54:00:12:34:56"),
        (32, "525400123456", ""),
        (1, "5254001234", ""),
        (1, "", ""),
        (1, "000000000000", ""),
        (1, "ffffffffffff", ""),
        (1, "01005e000001", ""),
    ],
)
def test_a_mac_is_the_address_of_an_ethernet_nic(htype: int, chaddr: str, expected: str) -> None:
    assert replace(DISCOVER, htype=htype, chaddr=bytes.fromhex(chaddr)).mac == expected
