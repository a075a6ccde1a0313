"""Opening and closing the DHCP server's ports."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bootserve.errors import Unavailable
from bootserve.servers.dhcp import DhcpServer
from tests.support.dhcp import SERVER, as_server, handle, is_open, serving, two_namespaces
from tests.support.netns import inside, ip

pytestmark = pytest.mark.netns


@pytest.fixture
def net() -> Iterator[tuple[str, str]]:
    with two_namespaces() as names:
        yield names


@pytest.mark.parametrize("port", [67, 4011])
async def test_a_taken_port_is_named_and_nothing_stays_open(
    net: tuple[str, str], port: int
) -> None:
    with inside(net[0]):
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with holder:
        holder.bind(("", port))
        with pytest.raises(Unavailable) as refused:
            async with serving(net[0]):
                pass
        assert str(refused.value) == f"UDP port {port} on boot0 is taken by another program"
        assert f"sport = :{port}" in refused.value.hint
        assert "dnsmasq" in refused.value.hint
    async with serving(net[0]):
        pass  # both ports are free again


async def test_a_second_server_is_refused(net: tuple[str, str]) -> None:
    async with serving(net[0]):
        with pytest.raises(Unavailable, match="UDP port 67 on boot0 is taken"):
            async with serving(net[0]):
                pass


async def test_a_missing_interface_is_named(net: tuple[str, str]) -> None:
    ip("-n", net[0], "link", "del", "boot0")
    with pytest.raises(Unavailable) as refused:
        async with serving(net[0]):
            pass
    assert str(refused.value) == "there is no interface boot0"


def test_a_user_without_the_right_to_bind_is_told(net: tuple[str, str]) -> None:
    program = (
        "import asyncio\n"
        "from bootserve.errors import Unavailable\n"
        "from bootserve.servers.dhcp import DhcpServer\n"
        "server = DhcpServer(interface='boot0', address='10.98.0.1', handler=None,"
        " on_event=None, on_offers=None)\n"
        "try:\n"
        "    asyncio.run(server.start())\n"
        "except Unavailable as error:\n"
        "    print(error, error.hint)\n"
    )
    result = subprocess.run(
        ["ip", "netns", "exec", net[0], "setpriv", "--bounding-set=-net_bind_service,-net_raw",
         sys.executable, "-c", program],
        check=True, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert result.stdout == (
        "UDP port 67 on boot0 may not be opened by this user Run as root, or with "
        "CAP_NET_BIND_SERVICE and CAP_NET_RAW.\n"
    )


async def test_stopping_twice_does_nothing(net: tuple[str, str]) -> None:
    server = DhcpServer(
        interface="boot0",
        address=SERVER,
        handler=as_server(handle),
        on_event=print,
        on_offers=print,
    )
    with inside(net[0]):
        await server.start()
    assert is_open(net[0], 67)
    assert is_open(net[0], 4011)
    for _ in range(2):
        await server.stop()
        assert not is_open(net[0], 67)
        assert not is_open(net[0], 4011)
    async with serving(net[0]):
        pass  # nothing of it is left that would be in the way of another
