"""An offer's options in words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.firmware import Firmware, judge
from bootserve.core.offer_facts import Offer, in_words
from bootserve.wire.dhcp import DhcpPacket
from tests.support.offers import (
    MENU,
    NO_PROXY,
    main,
    offer,
    packed,
)


@given(st.dictionaries(st.integers(1, 254), st.binary(max_size=40), max_size=8))
def test_any_options_can_be_put_into_words(options: dict[int, bytes]) -> None:
    packet = DhcpPacket(2, 1, bytes(6), options, yiaddr=packed("10.0.0.9"))
    assert all(name and text for name, text in in_words(packet))
    for firmware in Firmware:
        assert judge(firmware, [Offer(packet, "10.0.0.1"), main()]).findings


def test_an_offer_in_words() -> None:
    packet = offer(
        "10.0.0.2",
        gives="10.0.0.9",
        client_class="PXEClient",
        vendor=MENU,
        file="ipxe.efi",
        siaddr="10.0.0.2",
        header="ipxe.efi",
        o51=b"\0\0\x0e\x10",
        o6=b"\x0a\0\0\x01\x0a\0\0\x02",
        o175=NO_PROXY,
        o224=b"\x01\x02",
    ).packet
    assert dict(in_words(packet)) == {
        "message": "OFFER",
        "address offered (yiaddr)": "10.0.0.9",
        "next server (siaddr)": "10.0.0.2",
        "boot file (header)": "ipxe.efi",
        "server (54)": "10.0.0.2",
        "class (60)": "PXEClient",
        "discovery control (43.6)": (
            "7: no broadcast discovery, no multicast discovery, only the servers listed"
        ),
        "boot servers (43.8)": "type 32768: 10.0.0.5",
        "boot menu (43.9)": "type 32768 'Run'",
        "menu prompt (43.10)": "'Go!', 5 s",
        "boot file (67)": "ipxe.efi",
        "lease (51)": "3600 s",
        "DNS servers (6)": "10.0.0.1, 10.0.0.2",
        "listen to no proxy (175.176)": "yes",
        "option 224": "0102",
    }
