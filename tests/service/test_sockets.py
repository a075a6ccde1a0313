"""Who has a port open: this process, in a real /proc."""

from __future__ import annotations

import os
import socket

import pytest

from bootserve.service.sockets import BoundSocket, bound_sockets, owners


def found(protocol: str, port: int) -> list[BoundSocket]:
    return [one for one in bound_sockets() if (one.protocol, one.port) == (protocol, port)]


@pytest.mark.parametrize(("address", "is_any"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_udp(address: str, is_any: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        (one,) = found("udp", sock.getsockname()[1])
        assert (one.address, one.is_any) == (address, is_any)
        (owner,) = owners([one]).values()
        assert owner.endswith(f"(pid {os.getpid()})")


def test_tcp_that_listens_and_tcp_that_does_not() -> None:
    with socket.socket(socket.AF_INET6) as listening, socket.socket() as bound:
        listening.bind(("::1", 0))
        listening.listen()
        bound.bind(("127.0.0.1", 0))
        (one,) = found("tcp", listening.getsockname()[1])
        assert (one.address, one.is_any) == ("::1", False)
        assert found("tcp", bound.getsockname()[1]) == []


def test_no_sockets_have_no_owners() -> None:
    assert owners([]) == {}
