"""The labs of this machine, by their state files, and the removal of what is left of one.

A lab is a directory ``/var/lib/vm-harness/ID`` with ``lab.json`` in it, and namespaces named
``vmh-ID-…``. All its processes run inside those namespaces, so these two names are enough to find
and remove everything, whoever made it and however that ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vm_harness.errors import HarnessError
from vm_harness.net import NETNS, Namespace, end_processes, list_namespaces

__all__ = [
    "BASE",
    "LabState",
    "all_labs",
    "claim",
    "find_lab",
    "is_alive",
    "load",
    "namespace_prefix",
    "orphans",
    "process_started",
    "remove",
]

BASE = Path("/var/lib/vm-harness")
_ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class LabState:
    """What ``lab.json`` says.

    ``owner_pid`` and ``owner_started`` (clock ticks since boot, from /proc/PID/stat, since ids are
    used again) name the process whose end is the lab's end; both are 0 for a lab that ``up`` left
    standing. ``bootserve`` is the command of its boot server, empty when it has none, and
    ``state_dir`` that server's directory. ``created`` is in seconds since the epoch.
    """

    id: str
    owner_pid: int
    owner_started: int
    created: float
    accelerator: str
    bootserve: tuple[str, ...] = ()
    state_dir: str = ""

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return BASE / self.id

    @property
    def kept(self) -> bool:
        """Whether it stands without an owner."""
        return self.owner_pid == 0

    @property
    def stale(self) -> bool:
        """Whether its owner is gone, or its namespaces are (after the machine was rebooted)."""
        if self.kept:
            return not list_namespaces(namespace_prefix(self.id))
        return not is_alive(self.owner_pid, self.owner_started)

    def save(self) -> None:
        """Write ``lab.json`` whole or not at all."""
        path = self.directory / "lab.json"
        path.with_suffix(".new").write_text(json.dumps(asdict(self), indent=2) + "\n")
        path.with_suffix(".new").rename(path)

    def keep(self) -> LabState:
        """Return it without an owner, saved."""
        kept = replace(self, owner_pid=0, owner_started=0)
        kept.save()
        return kept


def namespace_prefix(lab_id: str) -> str:
    """Return what the names of a lab's namespaces start with."""
    return f"vmh-{lab_id}-"


def process_started(pid: int) -> int:
    """Return when ``pid`` started, in clock ticks since boot; 0 when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    state, *rest = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return 0 if state in "ZX" else int(rest[18])


def is_alive(pid: int, started: int) -> bool:
    """Return whether the process ``pid`` that started at ``started`` still runs."""
    return started != 0 and process_started(pid) == started


def claim(accelerator: str) -> LabState:
    """Take a new id, owned by this process, and make its directory with ``lab.json`` in it.

    The id is made of the process id and a random byte; that the directory is made with its state
    inside, in one rename, settles any race for it.

    Raises HarnessError when not root or when ``BASE`` cannot be written.
    """
    if os.geteuid() != 0:
        raise HarnessError("the lab makes network namespaces and taps: run it as root")
    pid = os.getpid()
    reason = ""
    for _ in range(1000):
        lab_id = f"{pid & 0xFFFFFF:06x}{secrets.token_hex(1)}"
        state = LabState(lab_id, pid, process_started(pid), time.time(), accelerator)
        fresh = BASE / f".{lab_id}-{secrets.token_hex(4)}"
        try:  # again when the id is taken, or when BASE was removed by the last lab to go down
            fresh.mkdir(mode=0o700, parents=True)
            (fresh / "lab.json").write_text(json.dumps(asdict(state)))
            fresh.rename(state.directory)
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            reason = str(error)
            continue
        return state
    raise HarnessError(f"no lab can be made below {BASE}: {reason}")


def load(lab_id: str) -> LabState:
    """Return the state of a lab; raises HarnessError when there is none or it cannot be read."""
    path = BASE / lab_id / "lab.json"
    if not _ID.fullmatch(lab_id) or not path.exists():
        raise HarnessError(f"there is no lab {lab_id!r}: see vm-harness status")
    try:
        raw = json.loads(path.read_text())
        return LabState(**{**raw, "bootserve": tuple(raw["bootserve"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HarnessError(f"{path} cannot be read: {error}") from None


def all_labs() -> list[LabState]:
    """Return every lab whose state can be read, the oldest first."""
    if not BASE.is_dir():
        return []
    labs = []
    for entry in BASE.iterdir():
        try:
            labs.append(load(entry.name))
        except HarnessError:
            continue  # an orphan: remove() needs no state
    return sorted(labs, key=lambda lab: lab.created)


def orphans() -> list[str]:
    """Return the ids of labs of which only namespaces, or only unreadable files, are left."""
    known = {lab.id for lab in all_labs()}
    names = {path.name.removeprefix("vmh-")[:8] for path in _entries(NETNS, "vmh-????????-*")}
    names |= {path.name for path in _entries(BASE, "????????")}
    return sorted(name for name in names - known if _ID.fullmatch(name))


def _entries(directory: Path, pattern: str) -> list[Path]:
    return list(directory.glob(pattern)) if directory.is_dir() else []


def find_lab(lab_id: str = "") -> LabState:
    """Return the lab named, or the only one that ``up`` left standing; raises HarnessError."""
    if lab_id:
        return load(lab_id)
    standing = [lab for lab in all_labs() if lab.kept and not lab.stale]
    if not standing:
        raise HarnessError("no lab is up: vm-harness up")
    if len(standing) > 1:
        raise HarnessError(f"say --lab: {', '.join(lab.id for lab in standing)} are up")
    return standing[0]


def remove(lab_id: str) -> None:
    """End a lab's processes and remove its namespaces and files; nothing happens if it is gone."""
    if not _ID.fullmatch(lab_id):
        raise HarnessError(f"{lab_id!r} is not a lab's id")
    namespaces: list[Namespace] = list_namespaces(namespace_prefix(lab_id))
    end_processes(namespaces)
    for namespace in namespaces:
        namespace.remove()
    shutil.rmtree(BASE / lab_id, ignore_errors=True)
    for leftover in _entries(BASE, f".{lab_id}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with contextlib.suppress(OSError):  # other labs are in it
        BASE.rmdir()
