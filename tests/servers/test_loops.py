"""A node that gets nowhere waits, through the whole server: scripts, NBPs, explain and the log."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from bootserve.wire.dhcp import DhcpPacket
from tests.support.api import Admin
from tests.support.curl import curl
from tests.support.dhcp import answered

MAC = "02:00:00:44:00:50"
TOKEN = "a" * 64


@pytest.fixture(scope="module")
def server(lab: Lab) -> BootServer:
    return lab.bootserve(arguments=["--boots-per-node", "3", "--nbps-per-node", "2"]).start()


@pytest.fixture(scope="module", autouse=True)
def nodes(admin: Admin, client: Namespace) -> None:
    client.ip("link", "set", "eth1", "address", MAC)
    for number in range(10):
        client.ip("address", "add", f"10.44.0.{60 + number}/24", "dev", "eth1")
    admin.publish("web", "1")
    admin.call("PUT", "/roles/compute", image="web")
    admin.call("POST", "/nodes", name="here", macs=[MAC], role="compute")
    admin.call("PUT", "/pins", scope="site", generation="web@1")


def script(client: Namespace, number: int) -> str:
    """Fetch the script from one of the node's addresses, so that it is no retry."""
    return curl(client, f"/boot/{MAC}.ipxe", "--interface", f"10.44.0.{60 + number}").text


def loop(client: Namespace) -> str:
    for number in range(3):
        assert "bootserve.boot=" in script(client, number)
    return script(client, 3)


def waits(admin: Admin) -> Any:
    return admin.call("GET", "/nodes/here/explain")["waits"]


def logged(server: BootServer, event: str) -> list[dict[str, Any]]:
    """The fields of the log's lines about ``event``, of warnings alone."""
    lines = [json.loads(line) for line in server.log_text().splitlines() if line[:1] == "{"]
    return [line for line in lines if (line["event"], line["level"]) == (event, "warning")]


REASON = "its script was fetched 3 times within 5 minutes and no report came"


def test_a_script_loop_ends_in_a_wait_that_is_explained_and_released(
    admin: Admin, client: Namespace, server: BootServer
) -> None:
    text = loop(client)
    assert text.startswith(f"#!ipxe\n# node here waits: {REASON}\n")
    assert re.search(r"^sleep (2[0-9]|3[0-9])$", text, re.M)
    assert len(admin.call("GET", "/boots?node=here")["boots"]) == 3
    assert waits(admin).startswith(f"{REASON}; it waits ")
    assert REASON in admin.call("GET", "/nodes/here/explain")["script"]
    assert REASON in admin.call("GET", "/nodes/here")["waits"]
    script(client, 4)
    [line] = logged(server, "loop")
    assert (line["node"], line["mac"], line["detail"]) == ("here", MAC, REASON)
    assert 20 <= line["seconds"] <= 40, "how long it waits"
    assert admin.call("POST", "/nodes/here/release")["waited"].startswith(REASON)
    assert waits(admin) == ""
    assert "bootserve.boot=" in script(client, 5)
    assert admin.call("POST", "/nodes/here/release")["waited"] == ""


def test_a_restarted_server_still_knows_the_loop_and_a_report_ends_it(
    admin: Admin, client: Namespace, server: BootServer
) -> None:
    admin.call("POST", "/nodes/here/release")
    loop(client)
    server.kill()
    server.start()
    assert REASON in script(client, 6)
    newest = admin.call("GET", "/boots?node=here")["boots"][0]["id"]
    bearer = ["-H", f"Authorization: Bearer {TOKEN}", "--data-binary", ""]
    assert curl(client, f"/report/{newest}?phase=failed", *bearer).status == 202
    assert REASON in script(client, 7)
    assert curl(client, f"/report/{newest}?phase=initramfs", *bearer).status == 202
    assert "bootserve.boot=" in script(client, 8)


def test_a_node_that_finds_no_disk_to_boot_from_waits_too(
    admin: Admin, client: Namespace, server: BootServer
) -> None:
    """A UEFI whose disk does not boot comes back to the network for ever."""
    admin.call("POST", "/nodes/here/release")
    before = len(logged(server, "loop"))
    admin.call("PATCH", "/nodes/here", boot="local")
    try:
        for number in range(3):
            assert "boots from its local disk" in script(client, number)
        assert script(client, 3).startswith(f"#!ipxe\n# node here waits: {REASON}\n")
        assert waits(admin).startswith(f"{REASON}; it waits ")
        assert REASON in admin.call("GET", "/nodes/here/explain")["script"]
        assert len(logged(server, "loop")) == before + 1
        admin.call("POST", "/nodes/here/release")
        assert "boots from its local disk" in script(client, 4)
    finally:
        admin.call("PATCH", "/nodes/here", boot="network")
        admin.call("POST", "/nodes/here/release")


IPXE = {175: b"\x13\1\1"}  # an iPXE that has HTTP


def file_offered(client: Namespace, kind: int, options: dict[int, bytes]) -> str:
    """Broadcast a firmware's DISCOVER (1) or REQUEST (3); return the boot file that is offered."""
    usual = {53: bytes((kind,)), 60: b"PXEClient:Arch:00007", 93: b"\0\7", 97: bytes(17)}
    chaddr = bytes.fromhex(MAC.replace(":", ""))
    packet = DhcpPacket(op=1, xid=0xCAFE, chaddr=chaddr, flags=0x8000, options=usual | options)
    file = answered(client, packet, lambda one: one.file, 1.5 if kind == 1 else 0.2)
    return file.decode()


def offered(client: Namespace, kind: int) -> bool:
    return bool(file_offered(client, kind, {}))


def test_a_chainload_loop_is_offered_no_nbp(
    admin: Admin, client: Namespace, server: BootServer
) -> None:
    admin.call("POST", "/nodes/here/release")
    for _ in range(2):
        assert offered(client, 1)
        assert not offered(client, 3)
    assert not offered(client, 1)
    reason = "it loaded its NBP 2 times within 5 minutes and never asked for a script"
    assert reason in waits(admin)
    [line] = [one for one in logged(server, "dhcp") if "no NBP is offered" in one["detail"]]
    assert (line["node"], line["mac"]) == ("here", MAC)
    assert line["detail"].startswith(reason)
    admin.call("POST", "/nodes/here/release")
    assert offered(client, 1)


def test_an_ipxe_in_a_chainload_loop_gets_a_script_that_waits_and_then_its_own(
    admin: Admin, client: Namespace, server: BootServer
) -> None:
    """It is one that says what it can, and whose user class got lost."""
    admin.call("POST", "/nodes/here/release")
    for _ in range(2):
        assert file_offered(client, 1, IPXE)
        assert not file_offered(client, 3, IPXE)
    assert not file_offered(client, 1, IPXE)  # the wait begins, and what is sent again is answered
    url = file_offered(client, 1, IPXE)
    assert url.endswith(f"/boot/{MAC.replace(':', '-')}.ipxe?waits=1")
    minted = len(admin.call("GET", "/boots?node=here")["boots"])
    path = url[url.index("/boot/") :]
    text = curl(client, path, "--interface", "10.44.0.60").text
    reason = "it loaded its NBP 2 times within 5 minutes and never asked for a script"
    assert text.startswith(f"#!ipxe\n# node here waits: {reason}")
    assert re.search(r"^sleep [1-9][0-9]?$", text, re.M)
    assert reason in waits(admin)
    assert len(admin.call("GET", "/boots?node=here")["boots"]) == minted
    [then] = re.findall(r"chain \S+ \S+ http://[^/]+(/boot/\S+)", text)
    assert "bootserve.boot=" in curl(client, then, "--interface", "10.44.0.60").text
    assert waits(admin) == ""
    assert "bootserve.boot=" in curl(client, path, "--interface", "10.44.0.61").text
    assert "no NBP is offered" in server.log_text()
