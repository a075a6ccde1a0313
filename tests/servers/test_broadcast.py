"""A batch of datagrams to one peer, by one call."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from bootserve.servers.broadcast import Broadcast
from bootserve.servers.mmsg import SLOTS, peer_of

SOURCE = "127.0.0.3"


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))
        yield sock


def test_all_of_them_come_in_order_from_the_address_told(
    sender: socket.socket, receiver: socket.socket
) -> None:
    broadcast = Broadcast(peer_of(*receiver.getsockname()), SOURCE)
    for count in (1, SLOTS, 3):
        datagrams = [b"%d " % number * number for number in range(1, count + 1)]
        assert broadcast.send(sender.fileno(), datagrams) == {}
        came = [receiver.recvfrom(2048) for _ in datagrams]
        assert [data for data, _ in came] == datagrams
        assert {address for _, (address, _) in came} == {SOURCE}


def test_one_that_cannot_be_sent_keeps_no_other_back(
    sender: socket.socket, receiver: socket.socket
) -> None:
    broadcast = Broadcast(peer_of(*receiver.getsockname()), SOURCE)
    too_long = bytes(66_000)
    failed = broadcast.send(sender.fileno(), [too_long, b"one", too_long, b"two", too_long])
    assert {number: error.errno for number, error in failed.items()} == dict.fromkeys(
        (0, 2, 4), errno.EMSGSIZE
    )
    assert [receiver.recv(2048) for _ in range(2)] == [b"one", b"two"]


def test_without_a_socket_all_fail(sender: socket.socket, receiver: socket.socket) -> None:
    broadcast = Broadcast(peer_of(*receiver.getsockname()), SOURCE)
    fd = sender.fileno()
    sender.close()
    failed = broadcast.send(fd, [b"one", b"two"])
    assert [error.errno for error in failed.values()] == [errno.EBADF] * 2
