from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

import pytest
from vm_harness.lab import Lab

from bootserve.errors import InvalidInput
from bootserve.service.interface import address_of
from tests.support.netns import inside


@pytest.fixture(scope="module")
def namespace(lab: Lab) -> str:
    client = lab.client("host", "")
    for address in ("10.1.2.3/16", "192.168.7.1/24", "192.168.7.2/24"):
        client.ip("address", "add", address, "dev", "eth1")
    client.ip("link", "add", "ends", "type", "veth", "peer", "name", "other")
    client.ip("address", "add", "10.9.0.1", "peer", "10.9.0.2/32", "dev", "other")
    return client.name


@pytest.mark.parametrize(
    ("interface", "wanted", "found"),
    [
        ("eth1", "", "10.1.2.3/16"),
        ("eth1", "192.168.7.1", "192.168.7.1/24"),
        ("eth1", "192.168.7.2", "192.168.7.2/24"),
        ("other", "", "10.9.0.1/32"),
        ("lo", "", "127.0.0.1/8"),
    ],
)
def test_the_address_and_its_own_prefix(
    namespace: str, interface: str, wanted: str, found: str
) -> None:
    with inside(namespace):
        address = address_of(interface, IPv4Address(wanted) if wanted else None)
    assert address == IPv4Interface(found)


@pytest.mark.parametrize(
    ("interface", "wanted", "words", "hint"),
    [
        ("eth8", None, "there is no interface eth8", "There are: lo, "),
        ("ends", None, "interface ends has no IPv4 address", "ip address add 10.0.0.2/24 dev ends"),
        (
            "eth1",
            IPv4Address("10.9.0.1"),
            "interface eth1 does not have the address 10.9.0.1",
            "It has 10.1.2.3, 192.168.7.1, 192.168.7.2.",
        ),
    ],
)
def test_an_interface_that_cannot_be_advertised(
    namespace: str, interface: str, wanted: IPv4Address | None, words: str, hint: str
) -> None:
    with inside(namespace), pytest.raises(InvalidInput) as refused:
        address_of(interface, wanted)
    assert str(refused.value) == words
    assert hint in refused.value.hint
