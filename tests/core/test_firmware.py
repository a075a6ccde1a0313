"""What HTTP boot and iPXE make of offers, and what holds for every firmware."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.firmware import Firmware, Step, judge
from bootserve.core.offer_facts import Offer
from bootserve.model.finding import Level, worst
from tests.core.test_judge_pxe import PXE_CASES
from tests.support.offers import (
    MAIN_CLASS_ONLY,
    MENU,
    NO_54,
    NO_CLASS,
    NO_PROXY,
    PXE10,
    SCRIPT,
    URL,
    binl,
    http,
    main,
    main_pxe10,
    offer,
    proxy,
    said,
    script,
    steps,
)

WITH_DNS = offer("10.0.0.1", gives="10.0.0.100", o6=b"\x0a\0\0\x01")
NAMED = "http://boot.example/nbp/ipxe.efi"
HTTP_CASES = {
    "the good case": ([main(), http()], Level.OK, f"and loads {URL}", f"load {URL} 10.0.0.2"),
    "all from the main server": (
        [http("10.0.0.1", gives="10.0.0.9"), http()],
        Level.WARNING,
        "10.0.0.2 names another URL",
        f"load {URL} 10.0.0.2",
    ),
    "a PXE offer": (
        [main(), proxy()],
        Level.ERROR,
        "EDK2 ignores the offer of 10.0.0.2: it is for PXE (option 60 is not HTTPClient)",
        "",
    ),
    "no URL": ([main(), http(url="ipxe.efi")], Level.ERROR, "names no URL (option 67", ""),
    "a name and no DNS": (
        [main(), http(url=NAMED)],
        Level.ERROR,
        "no DHCP server says which DNS server knows boot.example",
        "",
    ),
    "a name and DNS": ([WITH_DNS, http(url=NAMED)], Level.OK, "", f"load {NAMED} boot.example"),
    "an address before a name": (
        [WITH_DNS, http(url=NAMED), http("10.0.0.3")],
        Level.WARNING,
        "10.0.0.2 names another URL",
        f"load {URL} 10.0.0.2",
    ),
    "nobody": ([], Level.ERROR, "no DHCP server answers", ""),
    "no address": ([http()], Level.ERROR, "no DHCP server gives an address", ""),
    "a URL that is none": (
        [main(), http(url="http://[/")],
        Level.ERROR,
        "names no URL",
        "",
    ),
}


@pytest.mark.parametrize("case", HTTP_CASES)
def test_http(case: str) -> None:
    offers, level, sentence, wanted = HTTP_CASES[case]
    found = judge(Firmware.HTTP, offers)
    assert sentence in said(found)
    assert (steps(found), worst(found.findings)) == (wanted, level)


IPXE_CASES = {
    "the good case": ([main(), script()], Level.OK, f"iPXE loads {SCRIPT}", f"load {SCRIPT} {2}"),
    "no-pxedhcp": (
        [offer("10.0.0.1", gives="10.0.0.9", o175=NO_PROXY), script()],
        Level.ERROR,
        "tells iPXE to listen to no proxy (option 175.176), so what 10.0.0.2 offers does not count",
        "",
    ),
    "no-pxedhcp with a file of its own": (
        [offer("10.0.0.1", gives="10.0.0.9", o175=NO_PROXY, file="http://a/b"), script()],
        Level.ERROR,
        "so what 10.0.0.2 offers does not count",
        "load http://a/b 0",
    ),
    "the main server's file wins": (
        [main(file="own.ipxe", siaddr="10.0.0.1"), script()],
        Level.WARNING,
        "iPXE takes the boot file of the DHCP server 10.0.0.1 (own.ipxe)",
        "load own.ipxe 1",
    ),
    "siaddr is zero": (
        [main(), offer("10.0.0.2", client_class="PXEClient", vendor=PXE10, file=SCRIPT)],
        Level.WARNING,
        "the offer of 10.0.0.2 has no next server (siaddr is 0): iPXE asks it on port 4011",
        "ask  2",
    ),
    "a name and no server": (
        [main(file="own.ipxe")],
        Level.ERROR,
        "10.0.0.1 names own.ipxe and no server to load it from (siaddr is 0)",
        "",
    ),
    "the NBP again": (
        [main(), proxy()],
        Level.WARNING,
        "if it is an iPXE, it loads itself again without end",
        "load ipxe.efi 2",
    ),
    "two proxies: the first pair counts": (
        [main(), script("10.0.0.3"), script()],
        Level.WARNING,
        "this time that of 10.0.0.3",
        f"load {SCRIPT} 3",
    ),
    "two proxies before the address: the last counts": (
        [script("10.0.0.3"), script(), main()],
        Level.WARNING,
        "this time that of 10.0.0.2",
        f"load {SCRIPT} 2",
    ),
    "a priority": (
        [
            offer(
                "10.0.0.3", client_class="PXEClient", file="x", siaddr="10.0.0.3", o175=b"\1\1\5"
            ),
            script(),
            main(),
        ],
        Level.WARNING,
        "this time that of 10.0.0.3",
        "load x 3",
    ),
    "a menu": (
        [main(), offer("10.0.0.2", client_class="PXEClient", vendor=MENU)],
        Level.WARNING,
        "10.0.0.2 sends a boot menu (43.9) and no boot file",
        "",
    ),
    "no option 54": (
        [
            main(),
            offer("10.0.0.2", client_class="PXEClient", file=SCRIPT, siaddr="10.0.0.2", o54=b"-"),
        ],
        Level.OK,
        f"iPXE loads {SCRIPT}",
        f"load {SCRIPT} 2",
    ),
    "more than EDK2 keeps": (
        [*(proxy(f"10.0.1.{number}") for number in range(16)), script(), main()],
        Level.WARNING,
        "this time that of 10.0.0.2",
        f"load {SCRIPT} 2",
    ),
    "no boot": ([main()], Level.ERROR, "nobody offers a boot program that iPXE can use", ""),
    "nobody": ([], Level.ERROR, "no DHCP server answers", ""),
}


@pytest.mark.parametrize("case", IPXE_CASES)
def test_ipxe(case: str) -> None:
    offers, level, sentence, wanted = IPXE_CASES[case]
    found = judge(Firmware.IPXE, offers)
    assert sentence in said(found)
    short = [f"{one.step} {one.file} {one.server.rpartition('.')[2] or 0}" for one in found.choices]
    assert (", ".join(short), worst(found.findings)) == (wanted, level)


def test_every_finding_that_is_not_well_says_what_to_do() -> None:
    for offers, *_ in [*PXE_CASES.values(), *HTTP_CASES.values(), *IPXE_CASES.values()]:
        for firmware in Firmware:
            for one in judge(firmware, offers).findings:
                assert bool(one.action) == (one.level is not Level.OK), one
                assert one.action.endswith(".") or not one.action


ALL = [main(), proxy(), binl(), script(), main_pxe10(), MAIN_CLASS_ONLY, NO_54, NO_CLASS, http()]


@pytest.mark.parametrize("firmware", Firmware)
def test_who_gives_no_address_alone_never_boots_anything(firmware: Firmware) -> None:
    for pair in itertools.permutations(ALL, 2):
        found = judge(firmware, pair)
        if found.choices:
            assert any(one.address and one.server_id for one in pair)
        else:
            assert worst(found.findings) is not Level.OK


@given(st.lists(st.sampled_from(ALL), max_size=20), st.sampled_from(list(Firmware)))
def test_any_offers_get_a_judgement_with_words(offers: list[Offer], firmware: Firmware) -> None:
    found = judge(firmware, offers)
    assert found.findings
    for choice in found.choices:
        assert choice.step is Step.LOAD or choice.server
