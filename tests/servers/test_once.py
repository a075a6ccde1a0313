"""One-shot actions through the whole server: done once, by one boot, and written down."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from tests.support.api import Admin, Problem
from tests.support.curl import curl
from tests.support.strace import calls, traced

MAC = "02:00:00:44:00:50"
SECOND = "10.44.0.51"
MEMTEST = "#!ipxe\nkernel http://10.44.0.2/memtest || shell\nboot\n"


@pytest.fixture(scope="module", autouse=True)
def nodes(admin: Admin, client: Namespace) -> None:
    client.ip("link", "set", "eth1", "address", MAC)
    client.ip("address", "add", f"{SECOND}/24", "dev", "eth1")
    for number in ("1", "2", "3"):
        admin.publish("web", number)
    admin.publish("arm", "1", arch="arm64")
    admin.call("PUT", "/roles/compute", image="web")
    admin.call("POST", "/nodes", name="here", macs=[MAC], role="compute")
    admin.call("PUT", "/pins", scope="site", generation="web@1")


def script(client: Namespace, *options: str) -> str:
    answer = curl(client, f"/boot/{MAC}.ipxe", *options)
    assert answer.status == 200, answer.text
    return answer.text


def generation(text: str) -> str:
    return "".join(re.findall(r"bootserve\.generation=(\S+)", text))


def boot_once(admin: Admin, action: str, **fields: str) -> Any:
    return admin.call("PUT", "/nodes/here/boot-once", action=action, **fields)


def shown(admin: Admin) -> Any:
    return admin.call("GET", "/nodes/here/boot-once")


def test_a_generation_is_booted_once_and_a_retry_gets_the_same(
    admin: Admin, client: Namespace
) -> None:
    boot_once(admin, "generation", generation="web@2")
    assert generation(admin.call("GET", "/nodes/here/explain")["script"]) == "web@2"
    assert admin.call("GET", "/nodes/here")["once"]["generation"] == "web@2"
    curl(client, f"/boot/{MAC}.ipxe", "--head")
    assert shown(admin)["pending"]["set_by"] == "root"
    first = script(client)
    assert generation(first) == "web@2"
    assert script(client) == first
    assert generation(script(client, "--interface", SECOND)) == "web@1"
    assert script(client) == first
    after = shown(admin)
    boot = re.findall(r"bootserve\.boot=(\S+)", first)[0]
    [done] = after["history"]
    assert after["pending"] is None
    assert (done["outcome"], done["boot"], done["mac"]) == ("consumed", boot, MAC)
    assert done["address"] == "10.44.0.50"
    assert done["ended_at"] >= done["set_at"]
    [seen] = [one for one in admin.call("GET", "/boots?node=here")["boots"] if one["id"] == boot]
    assert seen["generation"] == "web@2"


def test_a_script_and_the_local_disk_are_served_once(admin: Admin, client: Namespace) -> None:
    client.ip("link", "set", "eth1", "down")  # closes the retry window's connection, not the window
    client.ip("link", "set", "eth1", "up")
    boot_once(admin, "script", script=MEMTEST)
    assert admin.call("GET", "/nodes/here/explain")["script"] == MEMTEST
    assert MEMTEST not in curl(client, f"/boot/{MAC}.ipxe?preview=1").text
    assert script(client, "--interface", SECOND) == MEMTEST
    assert script(client, "--interface", SECOND) == MEMTEST
    boot_once(admin, "local")
    assert "boots from its local disk" in script(client)
    assert [one["outcome"] for one in shown(admin)["history"][:2]] == ["consumed", "consumed"]


def test_a_killed_server_neither_forgets_nor_repeats_it(
    admin: Admin, client: Namespace, server: BootServer
) -> None:
    boot_once(admin, "generation", generation="web@3")
    server.kill()
    server.start()
    assert generation(script(client)) == "web@3"
    server.kill()
    server.start()
    assert generation(script(client, "--interface", SECOND)) == "web@1"
    assert shown(admin)["history"][0]["outcome"] == "consumed"


def test_it_is_over_on_the_disk_before_a_byte_of_the_script_is_sent(
    admin: Admin, client: Namespace, server: BootServer, tmp_path: Path
) -> None:
    """A crash of the machine must not bring it back, and a SIGKILL proves nothing of the disk."""
    script(client)  # what is kept of the actions before it is none of this one's business
    boot_once(admin, "script", script=MEMTEST)
    output = tmp_path / "strace"
    names = "rename,renameat,renameat2,fsync,fdatasync,write,writev,sendto,sendmsg,sendmmsg"
    with traced(server.process.pid, names, output):
        assert script(client, "--interface", SECOND) == MEMTEST
    made = calls(output.read_text())
    folder = str(server.state_dir / "boot-once")
    [taken] = [one for one in made if one.name.startswith("rename") and ".taken" in one.text]
    synced = [one for one in made if "sync" in one.name and f"<{folder}>)" in one.text]
    first = min((one for one in made if "memtest || shell" in one.text), key=lambda one: one.begun)
    assert ".json" in taken.text
    assert folder in taken.text
    assert taken.text.endswith("= 0")
    durable = [one for one in synced if one.begun > taken.ended and one.text.endswith("= 0")]
    assert durable, "the directory of the actions was not synced after one was taken"
    assert first.begun > durable[0].ended, "the script was sent before its action was over"
    recorded = [one for one in made if "sync" in one.name and "/journal/" in one.text]
    assert any(taken.ended < one.begun and one.ended < first.begun for one in recorded)


def test_it_survives_a_restart_with_the_database_away(
    admin: Admin, client: Namespace, server: BootServer
) -> None:
    boot_once(admin, "generation", generation="web@2")
    server.terminate()
    database = server.state_dir / "bootserve.db"
    kept = database.read_bytes()
    database.write_bytes(b"this is no database" * 1000)
    server.start()
    assert generation(script(client)) == "web@2"
    server.kill()
    server.start()
    assert generation(script(client, "--interface", SECOND)) == "web@1"
    database.write_bytes(kept)
    admin.wait_ready()
    newest = shown(admin)["history"][0]
    assert (newest["outcome"], newest["generation"]) == ("consumed", "web@2")


def test_it_is_replaced_cancelled_and_gone_with_its_node(admin: Admin, server: BootServer) -> None:
    boot_once(admin, "local")
    boot_once(admin, "generation", generation="web@2")
    admin.call("DELETE", "/nodes/here/boot-once")
    with pytest.raises(Problem, match="nothing waits for the next boot of here"):
        admin.call("DELETE", "/nodes/here/boot-once")
    one, two = shown(admin)["history"][:2]
    assert (one["outcome"], one["ended_by"]) == ("cancelled", "root")
    assert (two["outcome"], two["ended_by"]) == ("replaced", "root")
    admin.call("POST", "/nodes", name="short", macs=["52:54:00:44:00:77"])
    admin.call("PUT", "/nodes/short/boot-once", action="local")
    admin.call("DELETE", "/nodes/short")
    admin.call("POST", "/nodes", name="short", macs=["52:54:00:44:00:77"])
    after = admin.call("GET", "/nodes/short/boot-once")
    assert (after["pending"], after["history"][0]["outcome"]) == (None, "gone")
    assert list(Path(server.state_dir, "boot-once").iterdir()) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"action": "generation", "generation": "web@9"}, "which does not exist"),
        ({"action": "generation", "generation": "arm@1"}, "built for arm64"),
        ({"action": "generation", "generation": "web"}, "does not name a generation"),
        ({"action": "generation"}, "generation goes with"),
        ({"action": "local", "script": MEMTEST}, "script goes with"),
        ({"action": "script", "script": "echo\n"}, "begins with the line"),
        ({"action": "script", "script": "#!ipxe\n" + "ö" * 40_000}, "at most 65536 bytes"),
        ({"action": "script", "script": "#!ipxe\n\x1b[2J"}, "control characters"),
    ],
)
def test_what_cannot_be_done_is_refused(admin: Admin, body: dict[str, str], words: str) -> None:
    with pytest.raises(Problem, match=words):
        admin.call("PUT", "/nodes/here/boot-once", **body)
    assert shown(admin)["pending"] is None


def test_its_generation_cannot_be_removed_and_is_never_replaced_by_the_pin(
    admin: Admin, client: Namespace
) -> None:
    admin.publish("web", "4")
    boot_once(admin, "generation", generation="web@4")
    with pytest.raises(Problem, match="the next boot of node here"):
        admin.call("DELETE", "/generations/web@4")
    admin.call("PATCH", "/nodes/here", arch="arm64", image="arm")
    text = script(client)
    assert "boot once names web@4, built for amd64, and the node is arm64" in text
    assert shown(admin)["pending"]["generation"] == "web@4"
    admin.call("PATCH", "/nodes/here", arch="amd64", image="web")
    assert generation(script(client)) == "web@4"
