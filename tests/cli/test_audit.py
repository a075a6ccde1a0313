"""``bootserve audit`` and ``as-of``: what is recorded, and what is proved of it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from tests.cli.runner import PROGRAM, Cli, run
from tests.support.api import Admin
from tests.support.curl import curl

MAC = "02:00:00:44:00:71"


@pytest.fixture(scope="module")
def story(cli: Cli, admin: Admin, client: Namespace) -> float:
    """A day's work: returns when the node had booted generation 1 and nothing else was done."""
    admin.publish("web", "1")
    admin.publish("web", "2")
    cli("role", "set", "compute", "--image", "web")
    cli("node", "add", "n1", "--mac", MAC, "--rack", "r1", "--role", "compute")
    cli("node", "add", "n2", "--mac", "02:00:00:44:00:72", "--rack", "r2", "--role", "compute")
    cli("pin", "rack/r1", "web@1", "-m", "first")
    client.ip("link", "set", "eth1", "address", MAC)
    script = curl(client, f"/boot/{MAC}.ipxe").text
    boot = script.split("bootserve.boot=")[1].split()[0]
    token = ["-H", f"Authorization: Bearer {'d' * 64}"]
    said = f"/report/{boot}?phase=up&generation=web@1&uptime=21.5"
    assert curl(client, said, *token, "--data-binary", "it is up").status == 202
    admin.call("GET", "/boots?node=n1")
    middle = time.time()
    time.sleep(0.01)
    cli("pin", "rack/r1", "web@2", "-m", "roll out")
    cli("node", "boot-once", "n1", "local")
    cli("node", "release", "n1")
    cli("node", "set", "n1", "--rack", "r3")
    return middle


def told(cli: Cli, *words: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = cli.json("audit", *words)["records"]
    return records


def kinds(records: list[dict[str, Any]]) -> list[str]:
    return [one["kind"] for one in records]


@pytest.mark.usefixtures("story")
def test_all_of_it_is_recorded_with_who_and_when(cli: Cli, admin: Admin) -> None:
    records = told(cli, "--limit", "100")
    assert [one["at"] for one in records if one["kind"] == "revision"] == sorted(
        (one["at"] for one in records if one["kind"] == "revision"), reverse=True
    )
    wanted = {"server", "import", "revision", "boot", "bound", "report", "boot-once", "release"}
    assert wanted <= set(kinds(records))
    assert all(one["subject"] for one in records)
    pin = next(one for one in records if one["message"] == "roll out")
    assert (pin["subject"], pin["about"]) == ("root", ["rack/r1"])
    assert pin["detail"]["changes"] == [
        {
            "table": "pin",
            "key": ["rack", "r1", "web"],
            "before": {"number": 1},
            "after": {"number": 2},
        }
    ]
    once = next(one for one in records if one["kind"] == "boot-once")
    assert (once["subject"], once["detail"]["outcome"]) == ("root", "pending")
    status, _ = admin.raw(
        "PUT", "/api/v1/racks/r9", b'{"kernel_args": "quiet"}', **{"X-Request-Id": "ticket-4711"}
    )
    assert status == 200
    assert told(cli, "--rack", "r9")[0]["request"] == "ticket-4711"
    assert all(one["request"] for one in told(cli, "--kind", "revision", "--actor", "root"))


def test_the_list_is_filtered(cli: Cli, story: float) -> None:
    assert set(kinds(told(cli, "--node", "n1"))) == {
        "boot",
        "bound",
        "report",
        "boot-once",
        "release",
        "revision",
    }
    assert kinds(told(cli, "--node", "n2")) == ["revision"]
    assert set(kinds(told(cli, "--actor", "node/n1"))) == {"boot", "bound", "report"}
    in_rack = told(cli, "--rack", "r1")
    assert {"boot", "report", "release", "revision"} <= set(kinds(in_rack))
    assert kinds(told(cli, "--rack", "r3")) == ["revision"]
    since = f"{story:f}".rstrip("0")
    assert told(cli, "--kind", "boot", "--since", "1h")
    assert not told(cli, "--kind", "boot", "--until", "1h")
    early = told(cli, "--until", _iso(float(since)), "--kind", "revision")
    late = told(cli, "--since", _iso(float(since)), "--kind", "revision")
    assert {one["message"] for one in late} >= {"roll out"}
    assert "first" in {one["message"] for one in early}
    assert "roll out" not in {one["message"] for one in early}
    first = told(cli, "--limit", "3")
    rest = told(cli, "--limit", "2", "--before", str(first[0]["id"]))
    assert [one["id"] for one in rest] == [one["id"] for one in first[1:]]


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


@pytest.mark.usefixtures("story")
def test_people_read_it_as_a_table(cli: Cli) -> None:
    text = cli("audit", "--node", "n1").out
    assert "boots web@1 at 10.44.0." in text
    assert "reports up, runs web@1: it is up" in text
    assert "node n1: rack 'r1' → 'r3'" in text
    assert "pin rack/r1 web@1 → @2: roll out" in cli("audit", "--rack", "r1").out
    assert "No records." in cli("audit", "--node", "nobody").err
    assert cli("audit", "--kind", "nothing", code=2).err
    assert "is not a time" in cli("audit", "--since", "yesterday", code=2).err


def test_as_of_says_what_was_pinned_what_ran_and_who_changed_it(cli: Cli, story: float) -> None:
    then = cli.json("as-of", _iso(story), "n1")["nodes"][0]
    assert (then["generation"], then["reason"]) == ("web@1", "pin rack/r1")
    assert (then["changed"]["message"], then["changed"]["author"]) == ("first", "root")
    running = then["running"]
    assert (running["generation"], running["reported_generation"]) == ("web@1", "web@1")
    now = cli.json("as-of", "0s", "rack/r3")["nodes"][0]
    assert (now["node"], now["generation"], now["action"]) == ("n1", "", "hold")
    assert now["changed"]["message"] == "set node n1"
    assert [one["node"] for one in cli.json("as-of", "0s")["nodes"]] == ["n1", "n2"]
    text = cli("as-of", _iso(story), "rack/r1").out
    assert "web@1" in text
    assert "first" in text
    assert "never booted" in cli("as-of", "0s", "rack/r2").out
    assert "there was no node n7" in cli("as-of", "0s", "n7", code=1).err
    assert "before revision 0" in cli("as-of", "2001-01-01T00:00Z", code=1).err
    assert "still to come" in cli("as-of", "2199-01-01T00:00Z", code=1).err


# --- the proof ------------------------------------------------------------------------------


def verdict(cli: Cli, *words: str | Path, code: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = cli.json("audit", "verify", *words, code=code)
    return found


@pytest.mark.usefixtures("story")
def test_an_export_is_verified_without_the_server(cli: Cli, tmp_path: Path) -> None:
    key, file = tmp_path / "audit.pub", tmp_path / "all.jsonl"
    key.write_text(cli("audit", "key").out)
    assert "Written to" in cli("audit", "export", "-o", file).err
    alone = run("audit", "verify", file, "--key", key)
    assert alone.code == 0, alone
    assert "Intact; the signature of the file" in alone.out
    lines = file.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[0])["chains"]["boots"]["count"] >= 3
    file.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    damaged = run("audit", "verify", file, "--key", key, "--json")
    assert damaged.code == 1
    assert "missing" in {one["problem"] for one in damaged.json["findings"]}
    assert "no export" in run("audit", "verify", key, "--key", key).err
    assert "--key" in run("audit", "verify", file).err
    assert "no Ed25519" in run("audit", "verify", file, "--key", file).err
    assert cli("audit", "export").out.startswith('{"chains":')
    assert "no record of that time" in cli("audit", "export", "--to", "2001-01-01", code=1).err


def test_records_are_printed_as_they_come(cli: Cli, server: BootServer) -> None:
    command = [*PROGRAM, "--state-dir", str(server.state_dir), "audit", "-f", "--kind", "reload"]
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        cli("reload")
        assert json.loads(process.stdout.readline())["kind"] == "reload"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_what_is_cut_off_raises_an_alarm_and_fails_to_verify(
    cli: Cli, admin: Admin, server: BootServer, tmp_path: Path
) -> None:
    assert verdict(cli, code=0)["intact"]
    head = tmp_path / "audit.head"
    head.write_text(cli("audit", "head").out)
    assert "signed checkpoints hold" in cli("audit", "verify", "--head", head).out
    wait_until(lambda: kept(server) == json.loads(head.read_text())["heads"])
    with closing(sqlite3.connect(server.state_dir / "bootserve.db")) as database, database:
        database.execute("DROP TRIGGER audit_no_delete")
        database.execute(
            "DELETE FROM audit WHERE sequence > 8 AND chain ="
            " (SELECT id FROM audit_chain WHERE name = 'changes')"
        )
    wait_until(lambda: any("cut off" in one for one in admin.call("GET", "/status")["problems"]))
    found = verdict(cli)
    assert "truncated" in {one["problem"] for one in found["findings"]}
    assert "NOT intact" in cli("audit", "verify", "--head", head, code=1).out
    assert "bootserve_audit_alarm 1.0" in admin.raw("GET", "/metrics")[1].decode()
    wait_until(lambda: bool(told(cli, "--kind", "failure")))
    assert told(cli, "--kind", "failure")[0]["detail"]["lost"]


def kept(server: BootServer) -> Any:
    path = server.state_dir / "audit.head"
    return json.loads(path.read_bytes())["heads"] if path.exists() else None


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
