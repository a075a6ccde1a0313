"""What PXE firmware makes of offers: a table of segments, each with the sentence that matters."""

from __future__ import annotations

import pytest

from bootserve.core.firmware import Firmware, judge, judge_ack
from bootserve.model.finding import Level, worst
from tests.support.offers import (
    MAIN_CLASS_ONLY,
    MENU,
    NO_54,
    NO_CLASS,
    PXE10,
    SCRIPT,
    URL,
    binl,
    main,
    main_pxe10,
    offer,
    proxy,
    said,
    script,
    steps,
)

PXE_CASES = {
    "the good case": (
        [main(), proxy()],
        Level.OK,
        "EDK2 takes its address from 10.0.0.1 and its boot program from 10.0.0.2",
        "load ipxe.efi 10.0.0.2",
    ),
    "the proxy came first": ([proxy(), main()], Level.OK, "", "load ipxe.efi 10.0.0.2"),
    "binl": (
        [main(), binl()],
        Level.OK,
        "asks 10.0.0.2 for a boot file on port 4011 (BINL)",
        "ask  10.0.0.2",
    ),
    "nobody": ([], Level.ERROR, "no DHCP server answers, and no proxyDHCP server either", ""),
    "no address": (
        [proxy()],
        Level.ERROR,
        "no DHCP server gives an address; 10.0.0.2 only adds a boot program to one",
        "",
    ),
    "no boot": ([main()], Level.ERROR, "nobody offers a boot program that EDK2 can use", ""),
    "the main server's own PXE": (
        [main(), proxy(), main_pxe10()],
        Level.WARNING,
        "two servers answer as PXE, 10.0.0.2 and 10.0.0.5; EDK2 prefers 10.0.0.5, the DHCP server"
        " itself, which sends a boot file of its own",
        "load own.efi 10.0.0.5",
    ),
    "option 60 and no 43": (
        [MAIN_CLASS_ONLY, proxy()],
        Level.ERROR,
        "EDK2 takes it for a boot server and asks 10.0.0.1 on port 4011, whatever 10.0.0.2 offers",
        "ask  10.0.0.1",
    ),
    "the same beside one that gives addresses only": (
        [MAIN_CLASS_ONLY, main("10.0.0.4"), proxy()],
        Level.WARNING,
        "10.0.0.1 answers as PXE too, without PXE options (43): EDK2 prefers 10.0.0.2",
        "load ipxe.efi 10.0.0.2",
    ),
    "binl of the main server beats a proxy's": (
        [main("10.0.0.4"), binl(), MAIN_CLASS_ONLY],
        Level.ERROR,
        "asks 10.0.0.1 on port 4011, whatever 10.0.0.2 offers",
        "ask  10.0.0.1",
    ),
    "PXE10 before BINL": (
        [main(), binl("10.0.0.3"), proxy()],
        Level.WARNING,
        "10.0.0.3 answers as PXE too, without PXE options (43): EDK2 prefers 10.0.0.2",
        "load ipxe.efi 10.0.0.2",
    ),
    "two proxies": (
        [main(), proxy("10.0.0.9", "x.efi"), proxy()],
        Level.WARNING,
        "two servers answer as PXE, 10.0.0.9 and 10.0.0.2; EDK2 takes the one that answers first",
        "load x.efi 10.0.0.9",
    ),
    "two BINL proxies": (
        [main(), binl("10.0.0.3"), binl()],
        Level.WARNING,
        "asks 10.0.0.3 (then 10.0.0.2) for a boot file",
        "ask  10.0.0.3, ask  10.0.0.2",
    ),
    "no option 54": (
        [main(), NO_54],
        Level.ERROR,
        "EDK2 drops the offer of 10.0.0.2: it lacks option 54",
        "",
    ),
    "no option 60": ([main(), NO_CLASS], Level.ERROR, "does not say PXEClient in option 60", ""),
    "an offer for HTTP boot": (
        [main(), offer("10.0.0.2", client_class="HTTPClient", file=URL)],
        Level.ERROR,
        "it is for HTTP boot (option 60 is HTTPClient)",
        "",
    ),
    "a boot file of the main server alone": (
        [main(file="pxelinux.0", siaddr="10.0.0.7")],
        Level.ERROR,
        "pxelinux.0 is a BIOS program, which UEFI cannot run",
        "load pxelinux.0 10.0.0.7",
    ),
    "a boot file beside a proxy": (
        [main(file="old.efi"), proxy()],
        Level.WARNING,
        "sends a boot file too (old.efi): EDK2 follows 10.0.0.2, but iPXE takes that",
        "load ipxe.efi 10.0.0.2",
    ),
    "two DHCP servers": (
        [main(), main("10.0.0.4"), proxy()],
        Level.WARNING,
        "2 DHCP servers give addresses: 10.0.0.1 and 10.0.0.4",
        "load ipxe.efi 10.0.0.2",
    ),
    "more than sixteen": (
        [*(main(f"10.0.1.{number}") for number in range(16)), proxy()],
        Level.ERROR,
        "17 offers came and EDK2 keeps 16: 10.0.0.2 came too late",
        "",
    ),
    "PXE options and no file": (
        [main(), offer("10.0.0.2", client_class="PXEClient", vendor=PXE10)],
        Level.WARNING,
        "10.0.0.2 sends PXE options and no boot file",
        "",
    ),
    "a menu": (
        [main(), offer("10.0.0.2", client_class="PXEClient", vendor=MENU, file="a.efi")],
        Level.WARNING,
        "10.0.0.2 sends a boot menu (43.9): somebody has to choose",
        "load a.efi 10.0.0.2",
    ),
}


@pytest.mark.parametrize("case", PXE_CASES)
def test_pxe(case: str) -> None:
    offers, level, sentence, wanted = PXE_CASES[case]
    found = judge(Firmware.UEFI, offers)
    assert sentence in said(found)
    assert (steps(found), worst(found.findings)) == (wanted, level)


def test_bios_wants_the_name_in_the_header_and_no_efi_program() -> None:
    good = judge(Firmware.BIOS, [main(), proxy(file="undionly.kpxe", header="undionly.kpxe")])
    assert worst(good.findings) is Level.OK
    assert "a BIOS PXE ROM takes its address from 10.0.0.1" in said(good)
    bare = judge(Firmware.BIOS, [main(), proxy(file="undionly.kpxe", header="")])
    assert "10.0.0.2 names the boot file in option 67 alone" in said(bare)
    assert "ipxe.efi is an EFI program, which a BIOS cannot run" in said(
        judge(Firmware.BIOS, [main(), proxy()])
    )


def test_answers_on_port_4011() -> None:
    ack = offer("10.0.0.2", client_class="PXEClient", file="ipxe.efi", siaddr="10.0.0.2", kind=5)
    found = judge_ack(Firmware.UEFI, ack)
    assert steps(found) == "load ipxe.efi 10.0.0.2"
    assert judge_ack(Firmware.UEFI, binl()).findings[0].level is Level.ERROR
    assert steps(judge_ack(Firmware.IPXE, script())) == f"load {SCRIPT} 10.0.0.2"
    assert judge_ack(Firmware.IPXE, binl()).findings[0].level is Level.ERROR


def test_the_server_list_beats_siaddr() -> None:
    vendor = b"\x06\x01\x08\x08\x07\x80\x00\x01\x0a\x00\x00\x07\xff"
    listed = offer("10.0.0.2", client_class="PXEClient", vendor=vendor, file="a", siaddr="10.0.0.2")
    assert judge(Firmware.UEFI, [main(), listed]).choices[0].server == "10.0.0.7"
