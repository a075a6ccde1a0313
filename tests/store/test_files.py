from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bootserve.errors import BootserveError, Refused, StorageFull, Unavailable
from bootserve.store.files import os_errors, write_atomic


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EACCES, Refused),
        (errno.EROFS, Refused),
        (errno.EIO, Unavailable),
    ],
)
def test_what_the_system_says_becomes_an_error_of_ours(
    number: int, expected: type[BootserveError]
) -> None:
    with pytest.raises(expected, match="while testing"), os_errors("testing"):
        raise OSError(number, os.strerror(number))


def test_atomic_write_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    write_atomic(path, b"new", 0o644)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["file"]


def test_an_atomic_write_without_room_leaves_the_old_file(tiny_disk: Path) -> None:
    path = tiny_disk / "file"
    write_atomic(path, b"old")
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, bytes(2 << 20))
    assert path.read_bytes() == b"old"
    assert os.listdir(tiny_disk) == ["file"]
