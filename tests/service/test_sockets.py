"""Who has a port open: this process, in a real /proc."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import pytest

from bootserve.service.sockets import BoundSocket, bound_sockets, family_of, owners


def found(protocol: str, port: int) -> list[BoundSocket]:
    return [one for one in bound_sockets() if (one.protocol, one.port) == (protocol, port)]


@pytest.mark.parametrize(("address", "is_any"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_udp(address: str, is_any: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        (one,) = found("udp", sock.getsockname()[1])
        assert (one.address, one.is_any) == (address, is_any)
        ((owner,),) = owners([one]).values()
        assert owner.pid == os.getpid()
        assert str(owner) == f"{owner.name} (pid {os.getpid()})"


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


def test_a_family_is_a_process_with_all_it_started() -> None:
    words = ["sh", "-c", "sleep 60 & echo $!; wait"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout
        sleeper = int(shell.stdout.readline())
        try:
            assert family_of(shell.pid) == {shell.pid, sleeper}
            assert family_of(os.getpid()) >= {os.getpid(), shell.pid, sleeper}
            assert family_of(sleeper) == {sleeper}
        finally:
            os.kill(sleeper, signal.SIGKILL)
