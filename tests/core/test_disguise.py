"""The probe's packets are what the server takes a firmware's for."""

from __future__ import annotations

import pytest

from bootserve.core.disguise import boot_request, discover
from bootserve.core.firmware import Firmware
from bootserve.core.offers import BINL_PORT, DHCP_PORT, OfferSettings, OfferTarget, Reply, answer
from bootserve.wire.dhcp import DhcpPacket, MessageType, build, parse
from bootserve.wire.pxe import ClientArch, FirmwareKind, PxeClient, classify

MAC = "52:54:00:12:34:56"
NBPS = {
    ClientArch.BIOS: "undionly.kpxe",
    ClientArch.EFI_X64: "ipxe.efi",
    ClientArch.EFI_ARM64: "ipxe-arm64.efi",
}
SETTINGS = OfferSettings("10.0.0.2", "http://10.0.0.2:8080", NBPS)
ADDRESS = b"\x0a\0\0\x32"

KINDS = {
    Firmware.BIOS: (FirmwareKind.PXE, ClientArch.BIOS, "PXEClient:Arch:00000:UNDI:002001"),
    Firmware.UEFI: (FirmwareKind.PXE, ClientArch.EFI_X64, "PXEClient:Arch:00007:UNDI:003000"),
    Firmware.UEFI_ARM64: (
        FirmwareKind.PXE,
        ClientArch.EFI_ARM64,
        "PXEClient:Arch:00011:UNDI:003000",
    ),
    Firmware.HTTP: (FirmwareKind.HTTP, ClientArch.EFI_X64, "HTTPClient:Arch:00016:UNDI:003000"),
    Firmware.IPXE: (FirmwareKind.IPXE, ClientArch.EFI_X64, "PXEClient:Arch:00007:UNDI:003016"),
}


def client_of(packet: DhcpPacket) -> PxeClient:
    client = classify(parse(build(packet)))
    assert isinstance(client, PxeClient)
    return client


@pytest.mark.parametrize("firmware", Firmware)
def test_a_discover_is_what_it_pretends_to_be(firmware: Firmware) -> None:
    packet = discover(firmware, MAC, 7)
    client = client_of(packet)
    assert (client.kind, client.arch, client.vendor_class) == KINDS[firmware]
    assert (client.mac, client.uuid, packet.xid) == (MAC, "", 7)
    assert packet.message_type == MessageType.DISCOVER
    assert packet.flags == 0x8000
    reply = answer(
        build(packet), port=DHCP_PORT, settings=SETTINGS, lookup=lambda _: OfferTarget("a")
    )
    assert isinstance(reply, Reply)


@pytest.mark.parametrize("loader", [one for one in Firmware if one is not Firmware.IPXE])
def test_an_ipxe_says_what_it_was_loaded_by(loader: Firmware) -> None:
    client = client_of(discover(Firmware.IPXE, MAC, 7, ipxe_on=loader))
    assert client.kind is FirmwareKind.IPXE
    assert client.arch is KINDS[loader][1]
    assert client.features
    assert client.features.http
    assert client.features.efi is (loader is not Firmware.BIOS)


@pytest.mark.parametrize("firmware", [Firmware.UEFI, Firmware.IPXE])
def test_a_request_for_a_boot_file_is_no_request_for_a_lease(firmware: Firmware) -> None:
    packet = boot_request(firmware, MAC, 8, address=ADDRESS, server=b"\x0a\0\0\2")
    assert packet.message_type == MessageType.REQUEST
    assert (packet.ciaddr, packet.flags, packet.yiaddr) == (ADDRESS, 0, bytes(4))
    assert 50 not in packet.options  # a requested address
    assert (54 in packet.options) is (firmware is Firmware.IPXE)
    reply = answer(
        build(packet), port=BINL_PORT, settings=SETTINGS, lookup=lambda _: OfferTarget("a")
    )
    assert isinstance(reply, Reply)
