from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootserve.core.offers import OfferSettings
from bootserve.errors import InvalidInput
from bootserve.wire.pxe import ClientArch

SETTINGS = OfferSettings("10.0.0.1", "http://10.0.0.1:8080", {ClientArch.EFI_X64: "ipxe.efi"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"address": "10.0.0"}, "'10.0.0' is not an IPv4 address"),
        ({"address": "fe80::1"}, "'fe80::1' is not an IPv4 address"),
        ({"address": "0.0.0.0"}, "0.0.0.0 is not an address that a client can reach"),
        ({"address": "224.0.0.1"}, "224.0.0.1 is not an address that a client can reach"),
        (
            {"address": "255.255.255.255"},
            "255.255.255.255 is not an address that a client can reach",
        ),
        ({"shape": "bnl"}, "'bnl' is not an offer shape"),
        (
            {"http_base": "http://bücher:8080"},
            "the HTTP base URL must be ASCII, at most 200 characters",
        ),
        (
            {"http_base": "http://" + "x" * 200},
            "the HTTP base URL must be ASCII, at most 200 characters",
        ),
    ],
)
def test_settings_that_cannot_be_offered_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        replace(SETTINGS, **change)
    assert str(refused.value) == said
