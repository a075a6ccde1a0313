"""The kernel's neighbour table, as it is and as it changes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from bootserve.servers.neighbours import Neighbours
from tests.support.netns import inside, ip, joined

pytestmark = pytest.mark.netns

HERE, THERE, NOBODY = "10.99.0.1", "10.99.0.2", "10.99.0.3"
FIRST, SECOND = "52:54:00:00:00:01", "52:54:00:00:00:02"


@pytest.fixture
def namespace() -> Iterator[str]:
    with joined("neighbours", ("boot0", [HERE], [THERE])) as (namespace, _):
        yield namespace


def learn(namespace: str, address: str, mac: str, state: str = "reachable") -> None:
    words = ("neigh", "replace", address, "lladdr", mac, "nud", state, "dev", "boot0")
    ip("-n", namespace, *words)


def test_each_answer_is_the_table_of_that_moment(namespace: str) -> None:
    with inside(namespace), closing(Neighbours("boot0")) as neighbours:
        assert neighbours.mac(THERE) is None
        learn(namespace, THERE, FIRST)
        assert [neighbours.mac(one) for one in (THERE, NOBODY, THERE)] == [FIRST, None, FIRST]
        learn(namespace, THERE, SECOND)
        assert neighbours.mac(THERE) == SECOND
        learn(namespace, THERE, SECOND, "failed")
        assert neighbours.mac(THERE) is None


def test_an_interface_that_comes_late_or_is_made_anew_is_found(namespace: str) -> None:
    with inside(namespace), closing(Neighbours("boot0")) as neighbours:
        learn(namespace, THERE, FIRST)
        assert neighbours.mac(THERE) == FIRST
        before = socket.if_nametoindex("boot0")
        ip("-n", namespace, "link", "del", "boot0")
        assert neighbours.mac(THERE) is None
        anew = ("link", "add", "boot0", "index", str(before + 100), "type", "veth")
        ip("-n", namespace, *anew)
        ip("-n", namespace, "link", "set", "boot0", "up")
        learn(namespace, THERE, SECOND)
        assert neighbours.mac(THERE) == SECOND


def test_one_that_is_closed_opens_again(namespace: str) -> None:
    with inside(namespace), closing(Neighbours("boot0")) as neighbours:
        learn(namespace, THERE, FIRST)
        assert neighbours.mac(THERE) == FIRST
        neighbours.close()
        assert neighbours.mac(THERE) == FIRST


def test_what_is_no_address_has_no_neighbour(namespace: str) -> None:
    with inside(namespace), closing(Neighbours("boot0")) as neighbours:
        learn(namespace, THERE, FIRST)
        assert neighbours.mac("not an address") is None
        assert neighbours.mac(THERE) == FIRST
