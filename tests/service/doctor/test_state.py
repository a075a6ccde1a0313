"""Faults of the state: rights, disk, database, artifacts, NBPs, snapshot, journal, server."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from vm_harness.server import BootServer

from bootserve import resources
from bootserve.model.finding import Level
from bootserve.store.artifacts import DirectoryStore
from bootserve.store.journal_gap import PendingGap
from tests.service.doctor.conftest import ROOT, Doctor

pytestmark = pytest.mark.netns


def artifact(doctor: Doctor, content: bytes) -> Path:
    """Return the artifact's file that begins with ``content``."""
    files = (doctor.state_dir / "artifacts/sha256").glob("??/*")
    return next(path for path in files if path.read_bytes().startswith(content))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    options = "size=16m,nr_inodes=100000"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


# --- state directory and disk ------------------------------------------------------------------


def test_a_state_directory_on_a_full_and_then_read_only_disk(
    doctor: Doctor, small_disk: Path
) -> None:
    state = small_disk / "state"
    shutil.copytree(doctor.state_dir, state)
    doctor.finds("disk", "boots cannot be recorded when it is full", state_dir=state)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    doctor.finds("state directory", "mounted read-only", state_dir=state)


def test_a_disk_without_inodes(doctor: Doctor, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,nr_inodes=150", small_disk], check=True)
    doctor.finds("disk", "files only", state_dir=small_disk / "state")


def test_rights_that_are_too_wide(doctor: Doctor) -> None:
    doctor.state_dir.chmod(0o777)
    found = doctor.finds("state directory", "every user may change what nodes boot")
    assert found.action == f"chmod 0750 {doctor.state_dir}"
    doctor.state_dir.chmod(0o750)
    (doctor.state_dir / "admin.token").chmod(0o644)
    doctor.finds("state directory", "others may read the admin token")


def test_files_of_another_user(doctor: Doctor) -> None:
    os.chown(doctor.state_dir / "bootserve.db", 65534, 65534)
    found = doctor.finds("state directory", "not everything is its owner's", Level.WARNING)
    assert found.found.endswith(": bootserve.db")


def test_a_state_directory_that_is_a_file(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    doctor.finds("state directory", "is not a directory", state_dir=tmp_path / "file")


# --- database ----------------------------------------------------------------------------------


def test_a_damaged_database(doctor: Doctor) -> None:
    path = doctor.state_dir / "bootserve.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        for at in range(8192, size, 4096):
            file.seek(at + 100)
            file.write(b"\xff" * 300)
    found = doctor.finds("database", "is damaged: ")
    assert "Restore it from a backup" in found.action


def test_what_is_no_database(doctor: Doctor) -> None:
    (doctor.state_dir / "bootserve.db").write_bytes(b"not a database at all" * 1000)
    doctor.finds("database", "file is not a database")


def test_a_schema_of_the_future_and_one_of_the_past(doctor: Doctor) -> None:
    with closing(sqlite3.connect(doctor.state_dir / "bootserve.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
        doctor.finds("database", "has schema 9999, which this bootserve does not know")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.commit()
        doctor.finds("database", "has schema 0001; the next start brings it to", Level.OK)


# --- artifacts and NBPs ------------------------------------------------------------------------


def test_an_artifact_with_another_digest(doctor: Doctor) -> None:
    artifact(doctor, b"hsqs").write_bytes(ROOT[:-1] + b"?")
    found = doctor.finds("artifacts", "root of web@1 (")
    assert "its bytes have another sha256" in found.found
    assert "bootserve scrub" in found.action


def test_an_artifact_that_is_cut_and_one_that_is_gone(doctor: Doctor) -> None:
    artifact(doctor, b"hsqs").write_bytes(ROOT[:1000])
    artifact(doctor, b"kernel 1").unlink()
    doctor.finds("artifacts", "root of web@1 has 1000 bytes where 300004 were imported")
    doctor.finds("artifacts", "kernel of web@1 (")


def test_an_artifact_in_quarantine(doctor: Doctor) -> None:
    artifact(doctor, b"initrd 1").write_bytes(b"x")
    store = DirectoryStore(doctor.state_dir / "artifacts")
    assert len([one for one in store.scrub() if not one.intact]) == 1
    found = doctor.finds("artifacts", "1 are in quarantine: ")
    assert found.action.startswith("Import the generation again")


def test_an_artifact_that_nothing_pins_is_found_by_a_full_look(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootserve.service.doctor.contents.SAMPLE_BYTES", 310_000)
    artifact(doctor, b"root 2").write_bytes(b"root ?")
    monkeypatch.setattr("bootserve.service.doctor.contents.SAMPLE_BYTES", len(ROOT) + 20)
    doctor.finds("artifacts", "; --full reads all", Level.OK)
    doctor.finds("artifacts", "an artifact (", full=True)


def test_a_pinned_nbp_that_is_gone(doctor: Doctor) -> None:
    artifact(doctor, b"MZ").unlink()
    doctor.finds("artifacts", "NBP snp.efi (")


def test_templates_and_quirks_that_cannot_be_used(doctor: Doctor, tmp_path: Path) -> None:
    shutil.copy(resources.templates() / "node.ipxe.j2", tmp_path)
    quirks = tmp_path / "quirks.toml"
    quirks.write_text("")
    own: dict[str, Any] = {"templates_dir": tmp_path, "quirks_file": quirks}
    doctor.finds("templates", "render", Level.OK, **own)
    doctor.finds("quirks", "can be used", Level.OK, **own)
    with (tmp_path / "node.ipxe.j2").open("a") as file:
        file.write("{{ no_such_name }}")
    quirks.write_text("[[quirk]]\nname = 7\n")
    found = doctor.finds("templates", "node.ipxe.j2, line ", **own)
    assert found.action == "Correct it: no start or reload takes it."
    doctor.finds("quirks", str(quirks), **own)


def test_nbps_that_are_missing_or_for_other_machines(doctor: Doctor, tmp_path: Path) -> None:
    doctor.finds("NBP", f"there is no NBP in {tmp_path}", nbp_dir=tmp_path)
    shutil.copy("/usr/lib/ipxe/undionly.kpxe", tmp_path / "ipxe.efi")
    doctor.finds("NBP", "iPXE for bios; it is set for efi-x64", nbp_dir=tmp_path)
    doctor.finds("NBP", "undionly.kpxe: bios machines get no boot program", nbp_dir=tmp_path)
    data = Path("/usr/lib/ipxe/snponly.efi").read_bytes()
    (tmp_path / "ipxe.efi").write_bytes(data.replace(b"\x13\x01\x01", b"\x2a\x01\x01"))
    doctor.finds("NBP", "it cannot fetch scripts", nbp_dir=tmp_path)
    (tmp_path / "ipxe.efi").write_bytes(data[:4096])
    doctor.finds("NBP", "ipxe.efi (", Level.WARNING, nbp_dir=tmp_path)


# --- snapshot, journal, server -----------------------------------------------------------------


def test_a_damaged_snapshot_and_none(doctor: Doctor) -> None:
    path = doctor.state_dir / "snapshot.json"
    path.write_bytes(path.read_bytes()[:-10] + b"0123456789")
    found = doctor.finds("snapshot", "is damaged")
    assert found.action == "Delete it; it is written again from the database."
    path.unlink()
    doctor.finds("snapshot", "there is no ", Level.WARNING)


def test_records_that_were_lost(doctor: Doctor) -> None:
    gap = PendingGap(doctor.state_dir / "journal/gap")
    for at in range(3):
        gap.lose(float(at))
    gap.close()
    doctor.finds("journal", "3 records could not be written and are lost", Level.WARNING)


def test_a_journal_that_grows_to_its_bound(doctor: Doctor) -> None:
    (doctor.state_dir / "journal/filler").write_bytes(bytes(1 << 20))
    found = doctor.finds("journal", "does not get into the database", Level.WARNING,
                         journal_max_mib=1)  # fmt: skip
    assert found.action


def test_a_server_that_does_not_answer(doctor: Doctor) -> None:
    lock = doctor.state_dir / "lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{os.getpid()}\n")
        file.flush()
        doctor.finds("server", "does not answer on its admin socket")
        findings = doctor.examine()
    open_ports = [one.found for one in findings if one.subject == "ports"]
    assert open_ports
    assert all("is not open in the running server" in one for one in open_ports)


def test_a_server_that_is_not_ready_and_has_lost_its_database(
    serving: tuple[Doctor, BootServer],
) -> None:
    doctor, _ = serving
    quarantine = doctor.state_dir / "artifacts/quarantine"
    file = artifact(doctor, b"initrd 1")
    file.rename(quarantine / file.name)
    doctor.finds("server", "is not ready: 1 artifact is in quarantine")
    (doctor.state_dir / "bootserve.db").rename(doctor.state_dir / "away.db")
    doctor.finds("database", "the running server's database")
