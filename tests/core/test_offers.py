from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest

from bootserve.core.offers import (
    Destination,
    Ignored,
    OfferSettings,
    OfferTarget,
    Reply,
    answer,
    decide,
)
from bootserve.model.names import Mac
from bootserve.wire.dhcp import DhcpPacket, parse
from bootserve.wire.pxe import ClientArch

SERVER = "10.0.0.1"
OURS = socket.inet_aton(SERVER)
OTHER = socket.inet_aton("10.0.0.2")
CHADDR = bytes.fromhex("52540012ab56")
MAC = "52:54:00:12:ab:56"
GUID = b"\0" + bytes(range(16))
URL = b"http://10.0.0.1:8080"
SCRIPT = URL + b"/boot/52-54-00-12-ab-56.ipxe"
PXE10 = b"\x06\x01\x08\xff"
SETTINGS = OfferSettings(
    SERVER,
    "http://10.0.0.1:8080",
    {ClientArch.BIOS: "undionly.kpxe", ClientArch.EFI_X64: "ipxe.efi"},
)
BINL = replace(SETTINGS, shape="binl")
FEATURES = b"\x13\1\1\xeb\3\1\0\0"


def asked(
    kind: int = 1, arch: int = 7, vendor: bytes = b"PXEClient:Arch:0", **changes: Any
) -> DhcpPacket:
    """A client's message; ``options`` in ``changes`` are added to the usual ones."""
    options = {53: bytes((kind,)), 97: GUID, 93: arch.to_bytes(2, "big"), 60: vendor}
    options |= changes.pop("options", {})
    packet = DhcpPacket(op=1, xid=0xCAFE, chaddr=CHADDR, secs=4, flags=0x8000, options=options)
    return replace(packet, **changes)


def ipxe(kind: int = 1, arch: int = 7, **changes: Any) -> DhcpPacket:
    options = {77: b"iPXE", 175: FEATURES} | changes.pop("options", {})
    return asked(kind, arch, options=options, **changes)


def known(mac: Mac) -> OfferTarget | None:
    return OfferTarget("web1") if mac == MAC else None


def nobody(mac: Mac) -> OfferTarget | None:
    return None


def replied(
    packet: DhcpPacket,
    port: int = 67,
    settings: OfferSettings = SETTINGS,
    target: OfferTarget | None = None,
) -> Reply:
    result = decide(
        packet,
        port=port,
        settings=settings,
        lookup=(lambda _: target) if target else known,
    )
    assert isinstance(result, Reply), result
    assert result.packet is packet
    assert result.client.mac == MAC
    return result


def expected(
    kind: int, boot: dict[int, bytes], *, vendor: bytes = b"PXEClient", **changes: Any
) -> DhcpPacket:
    """The whole reply: what every one has, and what ``boot`` and ``changes`` add."""
    packet = DhcpPacket(
        op=2,
        xid=0xCAFE,
        chaddr=CHADDR,
        flags=0x8000,
        siaddr=OURS,
        file=boot.get(67, b""),
        options={53: bytes((kind,)), 54: OURS, 60: vendor, 97: GUID, **boot},
    )
    return replace(packet, **changes)


HTTP = b"HTTPClient:Arch:00016:UNDI:003001"
BOOT_SERVER = asked(3, 0, options={43: b"\x47\4\0\1\0\0\xff"}, ciaddr=b"\x0a\0\0\x09")


@pytest.mark.parametrize(
    ("packet", "port", "settings", "kind", "destination", "reply"),
    [
        (
            asked(arch=0), 67, SETTINGS, "offer nbp", Destination.BROADCAST,
            expected(2, {43: PXE10, 67: b"undionly.kpxe"}, sname=b"10.0.0.1"),
        ),
        (
            asked(), 67, SETTINGS, "offer nbp", Destination.BROADCAST,
            expected(2, {43: PXE10, 67: b"ipxe.efi"}),
        ),
        (
            asked(ciaddr=b"\x0a\0\0\x09"), 67, SETTINGS, "offer nbp", Destination.BROADCAST,
            expected(2, {43: PXE10, 67: b"ipxe.efi"}),
        ),
        (
            asked(arch=9), 67, SETTINGS, "offer nbp", Destination.BROADCAST,
            expected(2, {43: PXE10, 67: b"ipxe.efi"}),
        ),
        (asked(), 67, BINL, "offer binl", Destination.BROADCAST, expected(2, {})),
        (
            asked(arch=0), 67, BINL, "offer nbp", Destination.BROADCAST,
            expected(2, {43: PXE10, 67: b"undionly.kpxe"}, sname=b"10.0.0.1"),
        ),
        (
            asked(3, ciaddr=b"\x0a\0\0\x09", flags=0), 4011, BINL, "ack binl", Destination.SOURCE,
            expected(5, {67: b"ipxe.efi"}, ciaddr=b"\x0a\0\0\x09", flags=0),
        ),
        (
            asked(3, ciaddr=b"\x0a\0\0\x09"), 4011, SETTINGS, "ack nbp", Destination.SOURCE,
            expected(5, {43: PXE10, 67: b"ipxe.efi"}, ciaddr=b"\x0a\0\0\x09"),
        ),
        (
            asked(3, options={54: OTHER}), 4011, BINL, "ack binl", Destination.SOURCE,
            expected(5, {67: b"ipxe.efi"}),
        ),
        (
            asked(3, options={43: b"\x47\4\0\1\0\0"}), 4011, BINL, "ack binl", Destination.SOURCE,
            expected(5, {43: b"\x47\4\0\1\0\0\xff", 67: b"ipxe.efi"}),
        ),
        (
            BOOT_SERVER, 4011, SETTINGS, "ack nbp", Destination.SOURCE,
            expected(
                5, {43: b"\x06\1\x08\x47\4\0\1\0\0\xff", 67: b"undionly.kpxe"},
                sname=b"10.0.0.1", ciaddr=b"\x0a\0\0\x09",
            ),
        ),
        (
            asked(3, options={54: OURS}), 67, SETTINGS, "ack nbp", Destination.BROADCAST,
            expected(5, {43: PXE10, 67: b"ipxe.efi"}),
        ),
        (
            ipxe(), 67, SETTINGS, "offer script", Destination.BROADCAST,
            expected(2, {43: PXE10, 67: SCRIPT}),
        ),
        (
            ipxe(), 67, BINL, "offer script", Destination.BROADCAST,
            expected(2, {43: PXE10, 67: SCRIPT}),
        ),
        (
            ipxe(arch=0), 67, SETTINGS, "offer script", Destination.BROADCAST,
            expected(2, {43: PXE10, 67: SCRIPT}, sname=b"10.0.0.1"),
        ),
        (
            ipxe(3), 4011, SETTINGS, "ack script", Destination.SOURCE,
            expected(5, {43: PXE10, 67: SCRIPT}),
        ),
        (
            ipxe(3, options={54: OURS}), 67, SETTINGS, "ack script", Destination.BROADCAST,
            expected(5, {43: PXE10, 67: SCRIPT}),
        ),
        (
            # An architecture without an NBP here: iPXE is there already and needs none.
            ipxe(arch=11), 67, SETTINGS, "offer script", Destination.BROADCAST,
            expected(2, {43: PXE10, 67: SCRIPT}),
        ),
        (
            asked(options={77: b"\4iPXE"}), 67, SETTINGS, "offer script", Destination.BROADCAST,
            expected(2, {43: PXE10, 67: SCRIPT}),
        ),
        (
            # An iPXE built without HTTP (VirtualBox): ours, by TFTP, has it.
            ipxe(options={175: b"\xeb\3\1\0\0"}), 67, SETTINGS, "offer nbp",
            Destination.BROADCAST, expected(2, {43: PXE10, 67: b"ipxe.efi"}),
        ),
        (
            asked(arch=16, vendor=HTTP), 67, SETTINGS, "offer url", Destination.BROADCAST,
            expected(2, {67: URL + b"/nbp/ipxe.efi"}, vendor=b"HTTPClient"),
        ),
        (
            asked(arch=16, vendor=HTTP), 67, BINL, "offer url", Destination.BROADCAST,
            expected(2, {67: URL + b"/nbp/ipxe.efi"}, vendor=b"HTTPClient"),
        ),
        (
            ipxe(arch=16, vendor=HTTP), 67, SETTINGS, "offer script", Destination.BROADCAST,
            expected(2, {43: PXE10, 67: SCRIPT}, vendor=b"HTTPClient"),
        ),
    ],
)  # fmt: skip
def test_the_whole_reply(
    packet: DhcpPacket,
    port: int,
    settings: OfferSettings,
    kind: str,
    destination: Destination,
    reply: DhcpPacket,
) -> None:
    result = replied(packet, port, settings)
    assert parse(result.data) == reply
    assert (result.kind, result.destination, result.relay) == (kind, destination, "")
    assert result.node == "web1"


def test_a_reply_byte_by_byte() -> None:
    assert replied(asked()).data == (
        bytes.fromhex("02 01 06 00 0000cafe 0000 8000 00000000 00000000 0a000001 00000000")
        + CHADDR + bytes(10) + bytes(64) + b"ipxe.efi" + bytes(120)
        + bytes.fromhex("63825363 35 01 02 36 04 0a000001")
        + b"\x3c\x09PXEClient" + b"\x61\x11" + GUID
        + b"\x2b\x04\x06\x01\x08\xff" + b"\x43\x08ipxe.efi" + b"\xff"
    ).ljust(300, b"\0")  # fmt: skip


def test_a_relayed_packet_is_answered_through_its_relay_with_option_82_last() -> None:
    packet = asked(giaddr=b"\x0a\x01\0\xfe", hops=2, options={82: b"\1\4eth1"})
    result = replied(packet)
    assert parse(result.data) == expected(
        2, {43: PXE10, 67: b"ipxe.efi", 82: b"\1\4eth1"}, giaddr=b"\x0a\x01\0\xfe"
    )
    assert list(parse(result.data).options)[-1] == 82
    assert (result.destination, result.relay) == (Destination.RELAY, "10.1.0.254")


@pytest.mark.parametrize("flags", [0, 0x8000])
def test_a_relay_is_told_to_broadcast_since_there_is_no_address_to_send_to(flags: int) -> None:
    relayed = asked(giaddr=b"\x0a\x01\0\xfe", flags=flags)
    assert parse(replied(relayed).data).flags == 0x8000
    assert parse(replied(asked(flags=flags)).data).flags == flags


def test_option_82_without_a_relay_is_not_mirrored() -> None:
    assert parse(replied(asked(options={82: b"\1\4eth1"})).data) == expected(
        2, {43: PXE10, 67: b"ipxe.efi"}
    )


def test_a_client_without_a_uuid_gets_none() -> None:
    packet = asked(options={97: b""})
    assert 97 not in parse(replied(packet).data).options


def test_a_url_too_long_for_the_file_field_stands_in_option_67_alone() -> None:
    settings = replace(SETTINGS, http_base="http://boot." + "x" * 110)
    reply = parse(replied(ipxe(), settings=settings).data)
    url = settings.http_base.encode() + b"/boot/52-54-00-12-ab-56.ipxe"
    assert len(url) > 127
    assert (reply.file, reply.options[67]) == (b"", url)


@pytest.mark.parametrize(("length", "in_file"), [(127, True), (128, False)])
def test_the_file_field_holds_127_bytes(length: int, in_file: bool) -> None:
    name = "x" * (length - 4) + ".efi"
    reply = parse(replied(asked(), target=OfferTarget("web1", nbp=name)).data)
    assert reply.options[67] == name.encode()
    assert reply.file == (name.encode() if in_file else b"")


@pytest.mark.parametrize(
    ("packet", "nbp", "file"),
    [
        (asked(), "snponly.efi", b"snponly.efi"),
        (asked(arch=16, vendor=HTTP), "snponly.efi", URL + b"/nbp/snponly.efi"),
        (asked(arch=0), "undionly.kkpxe", b"undionly.kkpxe"),
        (asked(arch=0), "snponly.efi", b"undionly.kpxe"),
        (asked(), "undionly.kkpxe", b"ipxe.efi"),
        (asked(arch=11), "snponly-arm64.EFI", b"snponly-arm64.EFI"),
        (ipxe(), "snponly.efi", SCRIPT),
    ],
)
def test_a_nodes_own_nbp_holds_for_the_firmware_that_can_run_it(
    packet: DhcpPacket, nbp: str, file: bytes
) -> None:
    reply = replied(packet, target=OfferTarget("web1", nbp=nbp))
    assert parse(reply.data).options[67] == file


def test_a_nodes_own_shape_overrides_the_default() -> None:
    assert replied(asked(), target=OfferTarget("web1", shape="binl")).kind == "offer binl"
    target = OfferTarget("web1", shape="pxe10")
    assert replied(asked(), settings=BINL, target=target).kind == "offer nbp"


def test_a_raspberry_pi_gets_the_menu_that_its_rom_looks_for() -> None:
    settings = replace(SETTINGS, nbps={ClientArch.RASPBERRY_PI: "start4.elf"})
    packet = asked(arch=0, chaddr=bytes.fromhex("2ccf67000001"))
    result = decide(packet, port=67, settings=settings, lookup=lambda _: OfferTarget("pi"))
    assert isinstance(result, Reply)
    reply = parse(result.data)
    assert reply.file == b"start4.elf"
    assert reply.options[43] == b"\x09\x14\0\0\x11Raspberry Pi Boot\x0a\x04\0PXE\xff"


@pytest.mark.parametrize(
    ("packet", "port", "reason"),
    [
        (asked(op=2), 67, "it is a reply, not a request"),
        (asked(vendor=b"MSFT"), 67, "option 60 names neither PXEClient nor HTTPClient"),
        (
            asked(options={97: b"\1" + bytes(16)}), 67,
            "option 97 (client UUID) is not 17 bytes of type 0",
        ),
        (asked(giaddr=b"\xff" * 4), 67, "giaddr is not the address of a relay"),
        (asked(giaddr=b"\xe0\0\0\1"), 67, "giaddr is not the address of a relay"),
        (asked(giaddr=b"\x7f\0\0\1"), 67, "giaddr is not the address of a relay"),
        (asked(giaddr=b"\0\0\0\1"), 67, "giaddr is not the address of a relay"),
        (asked(3), 67, "it is a REQUEST to another DHCP server"),
        (asked(3, options={54: OTHER}), 67, "it is a REQUEST to another DHCP server"),
        (asked(3, options={54: OURS + b"\0"}), 67, "it is a REQUEST to another DHCP server"),
        (asked(8), 67, "an INFORM on port 67 asks nothing of a proxyDHCP server"),
        (asked(8), 4011, "an INFORM on port 4011 asks nothing of a proxyDHCP server"),
        (asked(1), 4011, "a DISCOVER on port 4011 asks nothing of a proxyDHCP server"),
        (asked(7), 67, "a RELEASE on port 67 asks nothing of a proxyDHCP server"),
        (asked(99), 67, "a message of no known type on port 67 asks nothing of a proxyDHCP server"),
        (
            asked(options={53: b"\1\1"}), 67,
            "a message of no known type on port 67 asks nothing of a proxyDHCP server",
        ),
        (asked(arch=11), 67, "there is no NBP for efi-arm64 on this server"),
        (asked(arch=6), 67, "there is no NBP for efi-ia32 on this server"),
        (asked(arch=19, vendor=HTTP), 67, "there is no NBP for efi-arm64 on this server"),
    ],
)  # fmt: skip
def test_what_is_ignored_and_why(packet: DhcpPacket, port: int, reason: str) -> None:
    result = decide(packet, port=port, settings=SETTINGS, lookup=known)
    assert isinstance(result, Ignored)
    assert result.reason == reason
    assert result.packet is packet


def test_an_unknown_machine_is_ignored_and_described() -> None:
    result = decide(asked(), port=67, settings=SETTINGS, lookup=nobody)
    assert isinstance(result, Ignored)
    assert (result.reason, result.node) == ("no node has this MAC address", "")
    assert result.client is not None
    assert result.client.mac == MAC


def test_an_unknown_machine_is_answered_where_the_policy_says_so() -> None:
    settings = replace(SETTINGS, answer_unknown=True)
    result = decide(asked(), port=67, settings=settings, lookup=nobody)
    assert isinstance(result, Reply)
    assert (result.kind, result.node) == ("offer nbp", "")


def test_the_lookup_is_not_asked_about_what_is_no_question_to_us() -> None:
    looked: list[Mac] = []

    def lookup(mac: Mac) -> OfferTarget | None:
        looked.append(mac)
        return None

    for packet in (asked(3), asked(8), asked(vendor=b"MSFT")):
        decide(packet, port=67, settings=SETTINGS, lookup=lookup)
    assert looked == []


def test_a_malformed_datagram_is_ignored_with_its_fault() -> None:
    assert answer(b"junk", port=67, settings=SETTINGS, lookup=known) == Ignored(
        "malformed: 4 bytes are too few for a DHCP message (240 at least)"
    )
