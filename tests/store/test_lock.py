from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bootserve.errors import Conflict, Unavailable
from bootserve.store.lock import StateLock

HOLD = """
import pathlib, sys
from bootserve.store.lock import StateLock
StateLock(pathlib.Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_server_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match=rf"pid {first.pid}\b.*{tmp_path}"):
            StateLock(path).acquire()
        first.kill()
        first.wait()
        with StateLock(path):
            assert path.read_text() == f"{os.getpid()}\n"


def test_it_can_be_taken_again_after_release(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "lock")
    with lock, pytest.raises(Conflict, match=f"pid {os.getpid()}"):
        StateLock(tmp_path / "lock").acquire()
    with lock:
        pass
    lock.release()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="opening the lock file"):
        StateLock(tmp_path / "none" / "lock").acquire()
