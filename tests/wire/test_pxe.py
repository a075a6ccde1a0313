from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.errors import PacketError
from bootserve.wire.dhcp import DhcpPacket, parse_options
from bootserve.wire.pxe import (
    BOOT_FILE_ONLY,
    BootServer,
    ClientArch,
    FirmwareKind,
    IpxeFeatures,
    MenuItem,
    NotBootClient,
    PxeClient,
    build_vendor,
    classify,
)

GUID = bytes.fromhex("00 33221100 5544 7766 8899 aabbccddeeff")
UEFI = {
    53: b"\1",
    97: GUID,
    94: b"\1\3\x10",
    93: b"\0\7",
    60: b"PXEClient:Arch:00007:UNDI:003016",
}
IPXE = UEFI | {
    77: b"iPXE",
    175: bytes.fromhex("b105011af41000 eb03010000 130101 240101"),
}


def sent(options: dict[int, bytes], mac: str = "525400123456", op: int = 1) -> DhcpPacket:
    return DhcpPacket(op=op, xid=1, chaddr=bytes.fromhex(mac), options=options)


def client(options: dict[int, bytes], mac: str = "525400123456") -> PxeClient:
    found = classify(sent(options, mac))
    assert isinstance(found, PxeClient)
    return found


def without(options: dict[int, bytes], code: int) -> dict[int, bytes]:
    return {key: value for key, value in options.items() if key != code}


def test_a_uefi_client_is_described_whole() -> None:
    assert client(UEFI) == PxeClient(
        mac="52:54:00:12:34:56",
        kind=FirmwareKind.PXE,
        arch=ClientArch.EFI_X64,
        vendor_class="PXEClient:Arch:00007:UNDI:003016",
        arch_codes=(7,),
        uuid="00112233-4455-6677-8899-aabbccddeeff",
        undi="3.16",
        features=None,
        boot_item=b"",
    )


def test_ipxe_is_described_whole() -> None:
    assert client(IPXE) == PxeClient(
        mac="52:54:00:12:34:56",
        kind=FirmwareKind.IPXE,
        arch=ClientArch.EFI_X64,
        vendor_class="PXEClient:Arch:00007:UNDI:003016",
        arch_codes=(7,),
        uuid="00112233-4455-6677-8899-aabbccddeeff",
        undi="3.16",
        features=IpxeFeatures(
            http=True,
            https=False,
            efi=True,
            version="1.0.0",
            bus_id="011af41000",
            names=("http", "efi"),
        ),
        boot_item=b"",
    )


@pytest.mark.parametrize(
    ("code", "arch"),
    [
        (0, ClientArch.BIOS),
        (6, ClientArch.EFI_IA32),
        (7, ClientArch.EFI_X64),
        (9, ClientArch.EFI_X64),
        (11, ClientArch.EFI_ARM64),
        (15, ClientArch.EFI_IA32),
        (16, ClientArch.EFI_X64),
        (19, ClientArch.EFI_ARM64),
    ],
)
def test_architecture_numbers(code: int, arch: ClientArch) -> None:
    found = client(UEFI | {93: code.to_bytes(2, "big")})
    assert (found.arch, found.arch_codes) == (arch, (code,))
    assert found.arch.is_efi == (code != 0)


def test_of_several_architectures_the_first_that_can_be_booted_counts() -> None:
    found = client(UEFI | {93: b"\0\x0c\0\x0b\0\7"})
    assert (found.arch, found.arch_codes) == (ClientArch.EFI_ARM64, (12, 11, 7))


def test_a_raspberry_pi_is_no_bios() -> None:
    assert client(UEFI | {93: b"\0\0"}, "2ccf67123456").arch is ClientArch.RASPBERRY_PI
    assert not client(UEFI | {93: b"\0\0"}, "2ccf67123456").arch.is_efi
    assert client(UEFI | {93: b"\0\x0b"}, "2ccf67123456").arch is ClientArch.EFI_ARM64


@pytest.mark.parametrize(
    ("user_class", "kind"),
    [
        (b"iPXE", FirmwareKind.IPXE),
        (b"\4iPXE", FirmwareKind.IPXE),
        (b"\3abc\4iPXE", FirmwareKind.IPXE),
        (b"\4iPXE\3abc", FirmwareKind.IPXE),
        (b"", FirmwareKind.PXE),
        (b"\4gPXE", FirmwareKind.PXE),
        (b"iPXE-like", FirmwareKind.PXE),
        (b"\x09not iPXE!", FirmwareKind.PXE),
        (b"\xffiPXE", FirmwareKind.PXE),
    ],
)
def test_the_user_class_tells_ipxe_raw_or_framed(user_class: bytes, kind: FirmwareKind) -> None:
    assert client(UEFI | {77: user_class}).kind is kind


def test_the_user_class_goes_before_the_vendor_class() -> None:
    http = UEFI | {60: b"HTTPClient:Arch:00016:UNDI:003001", 93: b"\0\x10"}
    assert client(http).kind is FirmwareKind.HTTP
    assert client(http | {77: b"iPXE"}).kind is FirmwareKind.IPXE


@pytest.mark.parametrize(
    ("value", "uuid"),
    [
        (GUID, "00112233-4455-6677-8899-aabbccddeeff"),
        (bytes(17), ""),
        (b"", ""),
    ],
)
def test_a_uuid_reads_as_dmidecode_writes_it(value: bytes, uuid: str) -> None:
    assert client(UEFI | {97: value}).uuid == uuid


def test_a_client_without_uuid_undi_or_features_is_one() -> None:
    found = client({53: b"\1", 60: b"PXEClient", 93: b"\0\0"})
    assert (found.uuid, found.undi, found.features) == ("", "", None)


def test_features_that_are_switched_off_or_absent_are_off() -> None:
    https = IpxeFeatures(https=True, names=("https",))
    assert client(IPXE | {175: b"\x13\1\0\x14\1\1"}).features == https
    assert client(IPXE | {175: b""}).features == IpxeFeatures()


def test_the_boot_item_is_kept() -> None:
    assert client(UEFI | {43: b"\x47\4\0\1\0\0\xff"}).boot_item == b"\0\1\0\0"
    assert client(UEFI | {43: b"\xff"}).boot_item == b""


def test_a_vendor_class_that_is_no_text_is_still_shown() -> None:
    assert client(UEFI | {60: b"PXEClient\xff\0"}).vendor_class == "PXEClient\\xff\x00"


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (sent(UEFI, op=2), "it is a reply, not a request"),
        (sent(without(UEFI, 60)), "option 60 names neither PXEClient nor HTTPClient"),
        (sent(UEFI | {60: b"MSFT 5.0"}), "option 60 names neither PXEClient nor HTTPClient"),
        (sent(UEFI | {60: b"xPXEClient"}), "option 60 names neither PXEClient nor HTTPClient"),
        (
            replace(sent(UEFI), htype=32),
            "its hardware address is not the Ethernet address of a NIC",
        ),
        (
            sent(UEFI, mac="ffffffffffff"),
            "its hardware address is not the Ethernet address of a NIC",
        ),
        (sent(without(UEFI, 93)), "option 93 (client architecture) is missing or malformed"),
        (sent(UEFI | {93: b"\7"}), "option 93 (client architecture) is missing or malformed"),
        (sent(UEFI | {93: b"\0\7\0"}), "option 93 (client architecture) is missing or malformed"),
        (
            sent(UEFI | {93: b"\0\x0c\0\x0a"}),
            "option 93 names no architecture that can be booted: 12, 10",
        ),
        (sent(UEFI | {97: bytes(16)}), "option 97 (client UUID) is not 17 bytes of type 0"),
        (sent(UEFI | {97: bytes(18)}), "option 97 (client UUID) is not 17 bytes of type 0"),
        (
            sent(UEFI | {97: b"\1" + bytes(16)}),
            "option 97 (client UUID) is not 17 bytes of type 0",
        ),
        (sent(IPXE | {175: b"\x13\5\1"}), "option 19 overruns the space it is in"),
        (sent(UEFI | {43: b"\x47"}), "option 71 overruns the space it is in"),
        (
            sent(UEFI | {43: b"\x47\2\0\1"}),
            "option 43.71 (boot item) is not a type and a layer of two bytes each",
        ),
    ],
)
def test_what_is_no_boot_client_and_why(packet: DhcpPacket, reason: str) -> None:
    assert classify(packet) == NotBootClient(reason)


@given(
    st.dictionaries(
        st.sampled_from([43, 53, 60, 77, 93, 94, 97, 175]), st.binary(max_size=40), max_size=8
    ),
    st.sampled_from([b"", b"PXEClient", b"HTTPClient"]),
    st.binary(max_size=16),
)
def test_no_options_make_it_raise(options: dict[int, bytes], prefix: bytes, chaddr: bytes) -> None:
    options[60] = prefix + options.get(60, b"")
    found = classify(DhcpPacket(op=1, xid=1, chaddr=chaddr, options=options))
    assert isinstance(found, PxeClient | NotBootClient)


def test_vendor_options_are_laid_out_as_pxe_has_them() -> None:
    value = build_vendor(
        control=BOOT_FILE_ONLY,
        servers=[BootServer(1, (b"\x0a\0\0\1", b"\x0a\0\0\2")), BootServer(0x8000, ())],
        menu=[MenuItem(0, "Local"), MenuItem(1, "Net")],
        prompt=(10, "F8"),
        boot_item=b"\0\1\0\0",
    )
    assert value == (
        b"\x06\1\x08"
        b"\x08\x0e\0\1\2\x0a\0\0\1\x0a\0\0\2\x80\0\0"
        b"\x09\x0e\0\0\5Local\0\1\3Net"
        b"\x0a\3\x0aF8"
        b"\x47\4\0\1\0\0"
        b"\xff"
    )
    assert list(parse_options(value)) == [6, 8, 9, 10, 71]


def test_no_vendor_options_are_an_end_alone() -> None:
    assert build_vendor() == b"\xff"
    assert build_vendor(control=BOOT_FILE_ONLY) == b"\x06\x01\x08\xff"


@pytest.mark.parametrize(
    ("menu", "said"),
    [
        ([MenuItem(0, "x" * 256)], "a boot menu text is longer than 255 bytes"),
        ([MenuItem(0, "x" * 253)], "option 43.9 is longer than 255 bytes"),
    ],
)
def test_a_menu_that_does_not_fit_is_refused(menu: list[MenuItem], said: str) -> None:
    with pytest.raises(PacketError) as refused:
        build_vendor(menu=menu)
    assert str(refused.value) == said
