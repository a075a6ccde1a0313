"""A doctor on a machine that is well, with a server and without, as root and not."""

from __future__ import annotations

from pathlib import Path

import pytest
from vm_harness.server import BootServer

from bootserve.model.finding import Level
from bootserve.service.doctor import machine
from tests.cli.runner import run, run_program
from tests.service.doctor.conftest import Doctor
from tests.support.netns import inside
from tests.support.public import in_public

pytestmark = pytest.mark.netns

WELL = {
    "server", "interface", "rights", "ports", "firewall", "NBP", "clock", "state directory", "disk",
    "database", "artifacts", "snapshot", "journal",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps the clock of the machine that tests is no matter of these tests."""
    monkeypatch.setattr(machine, "is_synchronised", lambda: True)


def test_all_is_well_before_a_start(doctor: Doctor) -> None:
    findings = doctor.examine()
    assert [one for one in findings if one.level is not Level.OK] == []
    assert {one.subject for one in findings} == WELL
    said = {one.found for one in findings}
    assert "UDP 67 (DHCP) is free" in said
    assert "eth1 is up with 10.44.0.2, MTU 1500" in said
    assert "7 are there, 7 were read and are right" in said
    assert "revision 4 with 1 nodes" in said


def test_all_is_well_while_a_server_runs(serving: tuple[Doctor, BootServer]) -> None:
    doctor, server = serving
    pid = server.process.pid
    findings = doctor.examine(interface=())  # the server knows its own
    assert [one for one in findings if one.level is not Level.OK] == []
    said = "\n".join(one.found for one in findings)
    assert f"pid {pid} runs bootserve" in said
    for port in ("UDP 67 (DHCP)", "UDP 69 (TFTP)", "UDP 4011", "TCP 8080", "TCP 8081"):
        assert f"{port}" in said
    assert said.count("is open: ") == 5
    assert said.count(f"(pid {pid})") >= 4  # TFTP has a process of its own
    doctor.finds("clock", "before revision 4 was made", clock=lambda: 1_750_000_000.0)


def test_it_changes_nothing(doctor: Doctor) -> None:
    def seen() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_size)
            for path in doctor.state_dir.rglob("*")
            if not path.name.endswith(("-shm", "-wal"))
        }

    before = seen()
    doctor.examine(full=True)
    assert seen() == before


def test_nothing_there_yet(doctor: Doctor, tmp_path: Path) -> None:
    findings = doctor.examine(state_dir=tmp_path / "new")
    assert [one for one in findings if one.level is not Level.OK] == []
    assert not (tmp_path / "new").exists()


def test_the_program_prints_and_exits(doctor: Doctor) -> None:
    words = ("doctor", "--interface", "eth9", "--state-dir", doctor.state_dir)
    within = doctor.namespace.command([])
    plain = run_program(*words, within=within)
    assert plain.code == 2
    head, *rows, total = plain.out.splitlines()
    assert head.split() == ["ABOUT", "FOUND", "WHAT", "TO", "DO"]
    assert any(row.startswith("error    interface") and "Use one of: lo" in row for row in rows)
    assert "1 error" in total
    with inside(doctor.namespace.name):
        document = run(*words, "--json").json
    assert {one["subject"] for one in document["findings"]} == WELL
    assert [one["found"] for one in document["findings"] if one["level"] == "error"] == [
        "there is no eth9"
    ]


def test_the_exit_code_is_that_of_the_worst(doctor: Doctor) -> None:
    words = ("doctor", "--state-dir", doctor.state_dir)
    with inside(doctor.namespace.name):
        assert run(*words, "--interface", "eth1").code == 0
        assert run(*words).code == 2  # no interface
        (doctor.state_dir / "snapshot.json").unlink()
        assert run(*words, "--interface", "eth1").code == 1
    help_text = " ".join(run("doctor", "--help").out.split())
    assert "Exits with 0 when all is well, 1 with warnings, 2 with errors." in help_text


def test_without_root_it_says_what_it_cannot_see(doctor: Doctor) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all")
    result = run_program(
        *("doctor", "--interface", "eth1", "--state-dir", doctor.state_dir, "--json"),
        within=doctor.namespace.command([*in_public(), *nobody]),
    )
    said = {one["subject"]: one for one in result.json["findings"] if one["level"] != "ok"}
    assert (result.code, result.err) == (1, "")
    assert "lacks CAP_NET_BIND_SERVICE and CAP_NET_RAW" in said["rights"]["found"]
    assert "nft cannot list the rules" in said["firewall"]["found"]
    for subject in ("server", "state directory", "database", "artifacts", "snapshot", "journal"):
        assert said[subject]["level"] == "warning"
        assert said[subject]["action"] == "Run this as root, or as the server's user."
    assert said["disk"]["found"].startswith("it could not be looked at: Permission denied: ")
