from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootserve.store.database import Database, sqlite_url
from bootserve.store.journal import Journal


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(sqlite_url(tmp_path / "bootserve.sqlite"))
    yield opened
    opened.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, which really fills up."""
    mountpoint = tmp_path / "tiny"
    mountpoint.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mountpoint], check=True)
    try:
        yield mountpoint
    finally:
        subprocess.run(["umount", "--lazy", mountpoint], check=True)


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Opens the journal of this test, after closing the one that is open."""
    opened: list[Journal] = []

    def open_journal(max_bytes: int = 1 << 20, clock: Callable[[], float] = lambda: 7.0) -> Journal:
        for journal in opened:
            journal.close()
        opened[:] = [Journal(tmp_path / "journal", max_bytes=max_bytes, clock=clock)]
        return opened[0]

    yield open_journal
    for journal in opened:
        journal.close()
