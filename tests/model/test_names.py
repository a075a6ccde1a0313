"""MAC addresses in every spelling, and none; names; kernel arguments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.errors import InvalidInput
from bootserve.model.names import check_kernel_args, check_name, parse_mac


@pytest.mark.parametrize(
    "text",
    [
        "52:54:00:0a:0b:0c",
        "52-54-00-0a-0b-0c",
        "52:54:00:0A:0B:0C",
        "52:54:0:a:b:c",
        "5254000a0b0c",
        "5254000A0B0C",
        "5254.000a.0b0c",
        "01-52-54-00-0a-0b-0c",
        " 52:54:00:0a:0b:0c\n",
    ],
)
def test_spellings_of_one_mac(text: str) -> None:
    assert parse_mac(text) == "52:54:00:0a:0b:0c"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "52:54:00:0a:0b",
        "52:54:00:0a:0b:0c:0d",
        "52:54-00:0a:0b:0c",
        "52:54:00:0a:0b:0g",
        "5254000a0b0",
        "5254.000a0b0c",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "01:00:5e:00:00:01",
        "52:54:00:0a:0b:0c; reboot",
        "٥2:54:00:0a:0b:0c",
    ],
)
def test_what_is_no_mac(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_mac(text)


@given(st.text())
def test_any_text_is_a_mac_in_one_spelling_or_refused(text: str) -> None:
    try:
        mac = parse_mac(text)
    except InvalidInput:
        return
    assert parse_mac(mac) == mac
    assert len(mac) == 17


@pytest.mark.parametrize("text", ["a", "r12", "k8s-node", "n1.example", "0a_b"])
def test_names(text: str) -> None:
    assert check_name(text) == text


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a b", "a/b", "ä", "a" * 64, "..", "a\n"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(text)


@pytest.mark.parametrize("text", ["a || b", "a && b", "${net0/mac}", "a\nb", "ä", "x" * 1025])
def test_kernel_arguments_that_ipxe_would_act_on(text: str) -> None:
    with pytest.raises(InvalidInput):
        check_kernel_args(text)


def test_kernel_arguments() -> None:
    assert check_kernel_args(" console=ttyS0,115200n8 x=a||b ") == "console=ttyS0,115200n8 x=a||b"
