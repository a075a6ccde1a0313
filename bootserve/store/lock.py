"""One server per state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from bootserve.errors import Conflict
from bootserve.store.files import os_errors

__all__ = ["StateLock"]


class StateLock:
    """An flock(2) on a file that holds the pid of the process that has it.

    The kernel releases it when that process ends, however it ends, so there is no stale lock to
    clear. Not for NFS before Linux 2.6.12.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock, or raise Conflict naming the pid of the process that has it.

        Raises Refused, StorageFull or Unavailable when the file cannot be opened or written.
        """
        with os_errors(f"opening the lock file {self._path}"):
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._take(fd)
            except BaseException:
                os.close(fd)
                raise
        self._fd = fd

    def _take(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise Conflict(
                f"another bootserve (pid {holder}) is running on {self._path.parent}",
                hint="Stop that one, or give this one another --state-dir.",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back; without effect when it is not held."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
