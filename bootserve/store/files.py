"""What every file in the state directory needs: one spelling of errors, and atomic writes."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bootserve.errors import BootserveError, Refused, StorageFull, Unavailable

__all__ = [
    "is_full",
    "os_errors",
    "remove_quietly",
    "replacing",
    "sync_directory",
    "write_all",
    "write_atomic",
]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def is_full(error: OSError) -> bool:
    """Whether ``error`` means that the file system or the quota has no room."""
    return error.errno in _FULL


def _translated(error: OSError, doing: str) -> BootserveError:
    reason = error.strerror or str(error)
    if is_full(error):
        return StorageFull(
            f"no room left while {doing}: {reason}", hint="Free space there, then try again."
        )
    if error.errno in _DENIED:
        return Refused(
            f"not allowed while {doing}: {reason}",
            hint="Check the owner and the mode of the state directory, and its mount options.",
        )
    return Unavailable(f"failed while {doing}: {reason}")


@contextlib.contextmanager
def os_errors(doing: str) -> Iterator[None]:
    """Raise an OSError of the block as StorageFull, Refused or Unavailable.

    ``doing`` completes the sentence "failed while …".
    """
    try:
        yield
    except OSError as error:
        raise _translated(error, doing) from error


def write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset`` (bytes); raises OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable; raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_quietly(path: Path) -> None:
    """Remove the file at ``path`` if it can be removed; for clearing up after an error."""
    with contextlib.suppress(OSError):
        path.unlink()


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put ``data`` at ``path`` so that a reader, or a crash, finds the old file or the new one.

    On return it is durable against power loss. Raises OSError; the old file is then still there.
    """
    with replacing(path, mode) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Give a file to write, which takes the place of ``path`` at the end of the block.

    As with :func:`write_atomic`; when the block raises, the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with open(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(fd)
        temporary.replace(path)
    except BaseException:
        remove_quietly(temporary)
        raise
    sync_directory(path.parent)
