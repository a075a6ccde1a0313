"""Many datagrams in one call, on loopback."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterator

import pytest

from bootserve.servers.mmsg import (
    SLOT_SIZE,
    SLOTS,
    Inbox,
    Outbox,
    address_of,
    client_of,
    message,
    peer_of,
)

HOST = "127.0.0.1"
SO_NO_CHECK = 11  # <asm-generic/socket.h>; the socket module does not name it


def bound(address: str = HOST) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.settimeout(10)
    sock.bind((address, 0))
    return sock


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with bound() as sock:
        yield sock


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with bound("127.0.0.2") as sock:
        yield sock


def peer(sock: socket.socket) -> int:
    return peer_of(*sock.getsockname())


def outbox_by(sock: socket.socket) -> Outbox:
    outbox = Outbox()
    outbox.use(sock.fileno())
    return outbox


def test_what_waits_for_one_socket_leaves_by_it_when_another_is_used(
    server: socket.socket, client: socket.socket
) -> None:
    outbox = outbox_by(server)
    with bound() as other:
        outbox.add_datagrams(peer(client), [b"first"])
        outbox.use(other.fileno())
        outbox.add_datagrams(peer(client), [b"second"])
        outbox.flush()
        assert client.recvfrom(2000) == (b"first", server.getsockname())
        assert client.recvfrom(2000) == (b"second", other.getsockname())


@pytest.mark.parametrize("client", [("10.1.2.3", 69), ("255.255.255.255", 65535), ("0.0.0.0", 0)])
def test_a_peer_is_an_address_and_a_port(client: tuple[str, int]) -> None:
    assert client_of(peer_of(*client)) == client
    assert peer_of(*client) & 0xFFFFFFFF == int.from_bytes(socket.inet_aton(client[0]), "big")


def test_what_has_come_is_taken_at_once(server: socket.socket) -> None:
    inbox = Inbox()
    with bound("127.0.0.2") as first, bound("127.0.0.3") as second:
        sent = [(first, b"\0\4\0\7"), (second, b""), (first, b"x"), (second, b"y" * 2000)]
        for sock, data in sent:
            sock.sendto(data, server.getsockname())
        assert inbox.receive(server.fileno()) == 4
        assert inbox.peers(4) == tuple(peer(sock) for sock, _ in sent)
    assert inbox.heads(4)[0] == 0x00040007
    lengths = inbox.lengths(4)
    assert lengths == (4, 0, 1, SLOT_SIZE)
    assert [inbox.datagram(slot, n) for slot, n in enumerate(lengths)] == [
        data[:SLOT_SIZE] for _, data in sent
    ]


def test_more_than_fits_is_taken_by_further_calls(
    server: socket.socket, client: socket.socket
) -> None:
    for number in range(SLOTS + 3):
        client.sendto(number.to_bytes(4, "big"), server.getsockname())
    inbox = Inbox()
    assert inbox.receive(server.fileno()) == SLOTS
    assert inbox.heads(SLOTS) == tuple(range(SLOTS))
    assert inbox.receive(server.fileno()) == 3
    assert inbox.heads(3) == (SLOTS, SLOTS + 1, SLOTS + 2)


def test_nothing_has_come(server: socket.socket) -> None:
    assert Inbox().receive(server.fileno()) == 0


def test_a_socket_that_fails_is_said() -> None:
    sock = bound()
    fd = sock.detach()
    socket.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        Inbox().receive(fd)
    assert raised.value.errno == errno.EBADF


def test_datagrams_go_to_their_peers_in_order(server: socket.socket) -> None:
    outbox, data = outbox_by(server), random.Random(1).randbytes(5000)
    with bound("127.0.0.2") as first, bound("127.0.0.3") as second:
        for number in range(2 * SLOTS + 1):
            to = (first, second)[number % 2]
            outbox.add(peer(to), address_of(data) + number, 100)
        outbox.flush()
        for number in range(2 * SLOTS + 1):
            got = (first, second)[number % 2].recvfrom(2000)
            assert got == (data[number : number + 100], server.getsockname())
    assert outbox.failed == []


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize(
    ("length", "segment"), [(100, 100), (101, 100), (22_848, 1428), (64_000, 500), (300_000, 1428)]
)
def test_a_run_leaves_as_its_segments(
    server: socket.socket, client: socket.socket, length: int, segment: int, checksums: bool
) -> None:
    """Without checksums the kernel refuses to cut a message up, and each goes by its own."""
    if not checksums:
        server.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    outbox, data = outbox_by(server), random.Random(1).randbytes(length)
    outbox.add_run(peer(client), address_of(data), length, segment)
    outbox.add_datagrams(peer(client), [b"end"])
    outbox.flush()
    expected = [data[start : start + segment] for start in range(0, length, segment)]
    assert [client.recv(2000) for _ in expected] == expected
    assert client.recv(2000) == b"end"
    assert outbox.failed == []


def test_messages_after_a_run_are_whole_again(server: socket.socket, client: socket.socket) -> None:
    outbox = outbox_by(server)
    outbox.add_datagrams(peer(client), [b"ab", b"cd", b"e"])
    outbox.flush()
    outbox.add_datagrams(peer(client), [b"a longer one"])
    outbox.flush()
    assert [client.recv(2000) for _ in range(4)] == [b"ab", b"cd", b"e", b"a longer one"]


def test_messages_that_were_described_go_behind_what_waits(
    server: socket.socket, client: socket.socket
) -> None:
    outbox, data = outbox_by(server), random.Random(1).randbytes(5000)
    to = peer(client)
    outbox.add_message_run(to, message(data, 0, 250), 100)
    outbox.flush()
    outbox.add_datagrams(to, [b"first"])
    for begin in range(0, 2 * SLOTS, SLOTS):
        outbox.add_messages(
            [to] * SLOTS, [message(data, begin + number, 300) for number in range(SLOTS)]
        )
    outbox.flush()
    received = [client.recv(2000) for _ in range(4 + 2 * SLOTS)]
    assert received[:4] == [data[:100], data[100:200], data[200:250], b"first"]
    assert received[4:] == [data[number : number + 300] for number in range(2 * SLOTS)]
    assert outbox.failed == []


def test_who_cannot_be_reached_does_not_keep_the_others_waiting(
    server: socket.socket, client: socket.socket
) -> None:
    outbox = outbox_by(server)
    nowhere = peer_of(HOST, 0)
    everywhere = peer_of("255.255.255.255", 9)
    for to in (nowhere, peer(client), everywhere, peer(client)):
        outbox.add_datagrams(to, [b"one", b"two"])
    outbox.flush()
    assert [client.recv(2000) for _ in range(4)] == [b"one", b"two"] * 2
    assert dict(outbox.failed) == {nowhere: errno.EINVAL, everywhere: errno.EACCES}
