"""A full disk: an import is undone, a journal that cannot be written is counted, boots go on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from vm_harness.lab import Lab
from vm_harness.net import Namespace

from bootserve.model.generation import Manifest
from bootserve.model.names import Arch
from tests.service.conftest import Servers
from tests.support.api import Admin, Problem
from tests.support.curl import curl
from tests.support.disks import fill, small_disk

MAC = "02:00:00:44:00:61"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", "8m") as folder:
        yield folder


def files(folder: Path) -> set[str]:
    """Return the files of the artifact store."""
    root = folder / "artifacts"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def lose_records(admin: Admin, client: Namespace, script: str) -> None:
    """Have a node report, on a full disk, until the journal has lost something, and says so."""
    boot = script.split("bootserve.boot=")[1].split()[0]
    report = ["-H", f"Authorization: Bearer {'d' * 64}", "--data-binary", "x" * 16_000]
    deadline = time.monotonic() + 60
    while not (status := admin.call("GET", "/status"))["journal_lost"]:
        assert time.monotonic() < deadline
        assert curl(client, f"/report/{boot}?phase=failed", *report).status == 202
    shown = [one for one in status["problems"] if "the journal cannot be written" in one]
    lost = status["journal_lost"]
    verb = "record is" if lost == 1 else "records are"
    assert shown == [f"the journal cannot be written; {lost} {verb} lost"]
    assert (status["journal_full"], status["ready"]) == (True, False)
    metric = admin.raw("GET", "/metrics")[1].decode()
    assert f"bootserve_journal_lost_total {float(lost)}" in metric


def test_an_import_that_does_not_fit_is_undone(servers: Servers, disk: Path) -> None:
    server = servers.make(state_dir=disk / "state")
    server.start()
    admin = Admin(server.state_dir)
    admin.publish("web", "1")
    before = files(server.state_dir)
    for _ in range(2):
        with pytest.raises(Problem) as refused:  # kernel and initrd fit, the root does not
            admin.publish("web", "2", os.urandom(12 << 20))
        assert refused.value.status == 507
        assert refused.value.document["type"] == "urn:bootserve:problem:storage-full"
        assert files(server.state_dir) == before
    generations = admin.call("GET", "/generations")["generations"]
    assert [one["name"] for one in generations] == ["web@1"]
    assert admin.publish("web", "2") == "web@2"


def test_an_import_whose_registration_does_not_fit_is_undone(servers: Servers, disk: Path) -> None:
    server = servers.make(state_dir=disk / "state")
    server.start()
    admin = Admin(server.state_dir)
    before = files(server.state_dir)
    parts = {part: admin.upload(part.encode()) for part in ("kernel", "initrd", "root")}
    packages = {f"package-{n}": "1" for n in range(50_000)}  # more than what the database has free
    manifest = Manifest(image="web", arch=Arch.AMD64, artifacts=parts, packages=packages)
    fill(disk / "filler")
    with pytest.raises(Problem) as refused:
        admin.register(manifest)
    assert refused.value.status == 507
    assert files(server.state_dir) == before
    (disk / "filler").unlink()
    assert admin.publish("web", "1") == "web@1"


def test_boots_go_on_and_what_is_lost_is_on_record(lab: Lab, servers: Servers, disk: Path) -> None:
    state = disk / "state"
    server = servers.make(state_dir=state)
    server.start()
    admin = Admin(state)
    client = lab.client("full", "10.44.0.61")
    client.ip("link", "set", "eth1", "address", MAC)
    admin.bring_in(MAC)
    admin.publish("web", "2")

    filler = disk / "filler"
    fill(filler)
    scripts = set()
    for generation in ("web@1", "web@2") * 2:
        scripts.add(curl(client, f"/boot/{MAC}.ipxe").status)
        with pytest.raises(Problem) as refused:
            admin.call("PUT", "/pins", scope="site", generation=generation, message="x" * 900)
        assert refused.value.status in (503, 507)
        curl(client, "/boot/52-54-00-00-00-99.ipxe")
    assert scripts == {200}
    assert admin.call("GET", "/pins")["pins"][0]["generation"] == "web@1"
    lose_records(admin, client, curl(client, f"/boot/{MAC}.ipxe").text)

    filler.unlink()
    assert admin.call("PUT", "/pins", scope="site", generation="web@2")["nodes_changed"] == 1
    assert "bootserve.generation=web@2" in curl(client, f"/boot/{MAC}.ipxe").text
    admin.wait_ready(60)
    lost = admin.call("GET", "/status")["journal_lost"]
    gaps = admin.call("GET", "/audit?kind=gap")["records"]
    assert sum(one["detail"]["count"] for one in gaps) == lost > 0
    server.restart()
    assert admin.call("GET", "/pins")["pins"][0]["generation"] == "web@2"
    assert admin.call("POST", "/audit/verify")["intact"]


def test_a_server_that_died_on_a_full_disk_starts_and_nodes_boot(
    lab: Lab, servers: Servers, disk: Path
) -> None:
    server = servers.make(state_dir=disk / "state")
    server.start()
    admin = Admin(server.state_dir)
    client, mac = lab.client("died", "10.44.0.63"), "02:00:00:44:00:63"
    client.ip("link", "set", "eth1", "address", mac)
    admin.bring_in(mac)
    boots, filler = [], disk / "filler"
    for number in (63, 64, 65):  # each time another address: it is no retry
        client.ip("address", "replace", f"10.44.0.{number}/24", "dev", "eth1")
        text = curl(client, f"/boot/{mac}.ipxe", "--interface", f"10.44.0.{number}").text
        boots.append(text.split("bootserve.boot=")[1].split()[0])
        if number == 63:
            fill(filler)  # the journal's last block has room for what comes
        elif number == 64:
            server.kill()
            server.start()
            assert "the database is away" in admin.unready()
    filler.unlink()
    admin.wait_ready()
    assert {one["id"] for one in admin.call("GET", "/boots?node=n1")["boots"]} == set(boots)
    assert admin.call("GET", "/status")["journal_lost"] == 0
    assert admin.call("POST", "/audit/verify")["intact"]


def test_a_full_journal_is_counted_and_shown_and_boots_go_on(lab: Lab, servers: Servers) -> None:
    server = servers.start("--journal-max-mib", "1")
    admin = Admin(server.state_dir)
    client = lab.client("journal", "10.44.0.62")
    client.ip("link", "set", "eth1", "address", "02:00:00:44:00:62")
    admin.bring_in("02:00:00:44:00:62")
    server.terminate()
    database = server.state_dir / "bootserve.db"
    kept = database.read_bytes()
    database.write_bytes(b"this is no database" * 1000)  # nothing leaves the journal now
    server.start()
    script = curl(client, "/boot/02-00-00-44-00-62.ipxe")
    boot = script.text.split("bootserve.boot=")[1].split()[0]
    report = f"/report/{boot}?phase=failed"
    options = ["-H", f"Authorization: Bearer {'d' * 64}", "--data-binary", "x" * 16_000]
    statuses = {curl(client, report, *options).status for _ in range(90)}
    assert statuses == {202}
    status = admin.call("GET", "/status")
    assert status["journal_full"]
    assert status["journal_lost"] > 0
    assert any("the journal cannot be written" in one for one in status["problems"])
    assert "the journal cannot be written" in admin.unready()
    assert curl(client, "/boot/02-00-00-44-00-62.ipxe").status == 200
    database.write_bytes(kept)
    admin.wait_ready()
    assert curl(client, "/boot/02-00-00-44-00-62.ipxe").status == 200
    assert admin.call("GET", "/boots?node=n1")["boots"]
