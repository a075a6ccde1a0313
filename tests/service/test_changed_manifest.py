"""A manifest is changed in the database: its nodes wait, and the rest of the site goes on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from tests.cli.runner import Cli
from tests.service.conftest import Servers
from tests.support.api import Admin, Problem
from tests.support.curl import curl

MACS = {"web": "02:00:00:44:00:71", "ceph": "02:00:00:44:00:72"}
BARRED = "pin site names web@1, whose stored manifest has changed"


def bring_in(admin: Admin) -> None:
    """Have a node for each of two images, and a generation that was removed."""
    for image, mac in MACS.items():
        admin.publish(image, image)
        admin.call("PUT", f"/roles/{image}", image=image)
        admin.call("POST", "/nodes", name=f"n-{image}", macs=[mac], role=image)
        admin.call("PUT", "/pins", scope="site", generation=f"{image}@1")
    admin.publish("old", "old")
    admin.call("DELETE", "/generations/old@1")


def change_rows(database: Path) -> None:
    """Give web@1 another manifest, which is one, and old@1 what is none."""
    raw = sqlite3.connect(database)
    with raw:
        changed = "replace(CAST(manifest AS TEXT), 'squashfs', 'erofs')"
        raw.execute(f"UPDATE generation SET manifest = CAST({changed} AS BLOB) WHERE image = 'web'")
        raw.execute("UPDATE generation SET manifest = x'00' WHERE image = 'old'")
    raw.close()


def script(client: Namespace, image: str) -> str:
    client.ip("link", "set", "eth1", "address", MACS[image])
    return curl(client, f"/boot/{MACS[image]}.ipxe").text


def check_said(admin: Admin, server: BootServer) -> None:
    problems = admin.call("GET", "/status")["problems"]
    assert any("damaged manifest" in one and "web@1" in one for one in problems)
    assert not any("old@1" in one for one in problems), "it is removed: nothing needs it"
    assert admin.raw("GET", "/readyz")[0] == 503
    logged = [line for line in server.log_text().splitlines() if "generation damaged" in line]
    for name in ("old@1", "web@1"):
        assert any(name in line for line in logged)
    for method, path in (("POST", "/generations/web@1/verify"), ("PUT", "/pins")):
        with pytest.raises(Problem, match="web@1, whose stored manifest has changed") as refused:
            admin.call(method, path, scope="rack/r1", generation="web@1")
        assert refused.value.status == 422
    cli = Cli(server.state_dir)
    assert "web@1 (DAMAGED)" in cli("image", "list", "web").out
    refused_show = cli("image", "show", "web@1", code=1).err
    assert "web@1, whose stored manifest has changed" in refused_show
    assert "Import the generation's bundle again" in refused_show
    shown = admin.call("GET", "/generations/web@1")
    assert (shown["damaged"], shown["manifest"]) == ("whose stored manifest has changed", None)


def test_it_holds_its_own_nodes_and_nobody_else(lab: Lab, servers: Servers) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    bring_in(admin)
    client = lab.client("changed", "10.44.0.71")
    database = server.state_dir / "bootserve.db"
    server.terminate()
    change_rows(database)
    server.start()
    assert BARRED in script(client, "web")
    assert "bootserve.generation=ceph@1" in script(client, "ceph")
    check_said(admin, server)

    # what reads all generations again goes on working, and so does a start from the snapshot file
    assert admin.publish("web", "2") == "web@2"
    admin.call("DELETE", "/generations/web@2")
    server.terminate()
    kept = database.read_bytes()
    database.write_bytes(b"this is no database" * 1000)
    server.start()
    assert BARRED in script(client, "web")
    server.terminate()
    database.write_bytes(kept)
    server.start()
    assert admin.publish("web", "web") == "web@1"
    admin.wait_ready(60)
    assert "bootserve.generation=web@1" in script(client, "web")
