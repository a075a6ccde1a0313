"""The state directory: its rights, its disk, the saved snapshot, and the journal."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from bootserve.core.snapshot import build_snapshot
from bootserve.errors import IntegrityError
from bootserve.model.finding import Finding
from bootserve.service.doctor.checkup import Checkup, error, ok, warning
from bootserve.store.journal_gap import read_gap
from bootserve.store.snapshot_file import load_state

__all__ = ["check_directory", "check_disk", "check_journal", "check_snapshot"]

DATABASE, JOURNAL, SNAPSHOT, TOKEN = "bootserve.db", "journal", "snapshot.json", "admin.token"
LEAST_FREE, LITTLE_FREE = 64 << 20, 1 << 30
LEAST_INODES, LITTLE_INODES = 200, 5000
LITTLE_SHARE = 0.05
NEARLY_FULL = 0.9


def check_directory(checkup: Checkup) -> Iterator[Finding]:
    """Look whether the state directory is there, writable, and closed to other users."""
    directory = checkup.state_dir
    if not directory.is_dir():
        yield from _absent(directory)
        return
    problems = list(_wrong_rights(directory))
    yield from problems
    if not problems:
        mode = stat.S_IMODE(directory.stat().st_mode)
        yield ok("state directory", f"{directory} is writable, mode {mode:04o}")


def _absent(directory: Path) -> Iterator[Finding]:
    if directory.exists():
        found = f"{directory} is not a directory"
        yield error("state directory", found, "Pass --state-dir with a directory.")
        return
    parent = next(one for one in directory.parents if one.exists())
    if os.access(parent, os.W_OK):
        yield ok("state directory", f"there is no {directory} yet; serve makes it")
    else:
        found = f"there is no {directory}, and this user may not make it in {parent}"
        yield error("state directory", found, "Make it, or pass --state-dir with another.")


def _wrong_rights(directory: Path) -> Iterator[Finding]:
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        found = f"{directory} is on a file system that is mounted read-only"
        yield error("state directory", found, "Mount it for writing; dmesg says why it is not.")
    elif not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        found = f"this user (uid {os.geteuid()}) may not write to {directory}"
        yield error("state directory", found, "Run as its owner, or as root.")
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o002:
        found = f"{directory} has mode {mode:04o}: every user may change what nodes boot"
        yield error("state directory", found, f"chmod 0750 {directory}")
    token = directory / TOKEN
    if token.exists() and stat.S_IMODE(token.stat().st_mode) & 0o077:
        mode = stat.S_IMODE(token.stat().st_mode)
        found = f"{token} has mode {mode:04o}: others may read the admin token"
        yield error("state directory", found, f"chmod 0600 {token}; delete it for a new one.")
    owner = directory.stat().st_uid
    foreign = [one.name for one in directory.iterdir() if one.lstat().st_uid != owner]
    if foreign:
        found = f"in {directory} not everything is its owner's (uid {owner}): {', '.join(foreign)}"
        yield warning("state directory", found, f"chown -R {owner} {directory}")


def check_disk(checkup: Checkup) -> Iterator[Finding]:
    """Look how much room there is, in bytes and in files."""
    place = checkup.state_dir
    place = next(one for one in (place, *place.parents) if one.exists())
    room = os.statvfs(place)
    free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    action = "Free room there: delete generations that nothing pins ('bootserve image rm')."
    text = f"{place} has {_size(free)} of {_size(total)} free"
    if free < LEAST_FREE:
        yield error("disk", f"{text}: boots cannot be recorded when it is full", action)
    elif free < LITTLE_FREE or free < total * LITTLE_SHARE:
        yield warning("disk", text, action)
    else:
        yield ok("disk", text)
    inodes = room.f_favail
    if room.f_files and inodes < LEAST_INODES:
        yield error("disk", f"{place} has room for {inodes} files only", action)
    elif room.f_files and inodes < LITTLE_INODES:
        yield warning("disk", f"{place} has room for {inodes} files only", action)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def check_snapshot(checkup: Checkup) -> Iterator[Finding]:
    """Look whether the saved snapshot, which serves while the database is away, can be used."""
    path = checkup.state_dir / SNAPSHOT
    try:
        saved = load_state(path)
    except IntegrityError as failed:
        yield error("snapshot", str(failed), failed.hint or "Restart the server, which writes it.")
        return
    if saved is None:
        if (checkup.state_dir / DATABASE).exists():
            action = "Start the server: it writes one; until then it needs its database."
            yield warning("snapshot", f"there is no {path}", action)
        return
    snapshot = build_snapshot(
        saved.revision, saved.state, saved.generations, saved.site_id, saved.nbps
    )
    text = f"revision {saved.revision.number} with {len(snapshot.plans)} nodes"
    stuck = [plan.node.name for plan in snapshot.unresolvable()]
    if stuck:
        found = f"{text}; {len(stuck)} have a pin that cannot be followed, such as {stuck[0]}"
        yield error("snapshot", found, f"See 'bootserve explain {stuck[0]}'.")
    else:
        yield ok("snapshot", text)


def check_journal(checkup: Checkup) -> Iterator[Finding]:
    """Look whether records were lost, and how full the journal is."""
    directory = checkup.state_dir / JOURNAL
    if not directory.is_dir():
        return
    gap = read_gap(directory / "gap")
    status = checkup.server.status
    lost = status.journal_lost if status else gap.count if gap else 0
    size = sum(one.stat().st_size for one in directory.iterdir())
    bound = checkup.settings.journal_max_mib << 20
    if status and status.journal_full:
        yield error("journal", f"it cannot be written; {lost} records are lost", _ROOM)
    elif lost:
        yield warning("journal", f"{lost} records could not be written and are lost", _ROOM)
    elif size > bound * NEARLY_FULL:
        text = f"it has {_size(size)} of {_size(bound)}: it does not get into the database"
        yield warning("journal", text, "See whether the database can be written (see above).")
    else:
        yield ok("journal", f"{_size(size)} of at most {_size(bound)}, nothing lost")


_ROOM = "Free room on the disk of the state directory; the gap is then recorded."
