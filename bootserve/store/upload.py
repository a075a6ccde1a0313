"""One artifact on its way in."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from bootserve.errors import Conflict, IntegrityError
from bootserve.store.files import remove_quietly, write_all

__all__ = ["Upload"]

_BLOCK = 1 << 20


class Upload:
    """The bytes received so far, in a file, and their running digest.

    After a restart the file is still there and the running digest is not: ``finish`` then reads
    the file once. Methods raise OSError for what the file system says.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._hashed = 0

    def offset(self) -> int:
        """Return how many bytes have been received."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, offset: int, chunk: bytes) -> int:
        """Write ``chunk`` at ``offset`` and return the next offset, in bytes.

        Raises Conflict when ``offset`` is not the number of bytes received.
        """
        with self._lock:
            received = self.offset()
            if offset != received:
                raise Conflict(
                    f"the upload stands at byte {received}, not {offset}",
                    hint="Go on from the offset that the server names.",
                )
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                write_all(fd, chunk, offset)
            finally:
                os.close(fd)
            if self._hashed > offset:
                self._restart()
            if self._hashed == offset:
                self._hash.update(chunk)
                self._hashed += len(chunk)
            return offset + len(chunk)

    def finish(self, digest: str, size: int, target: Path) -> None:
        """Move the file to ``target``, its content durable, when it has ``digest`` and ``size``.

        Raises Conflict when it is shorter than ``size`` bytes and IntegrityError when it is longer
        or has another digest.
        """
        with self._lock:
            received = self.offset()
            if received < size:
                raise Conflict(f"the upload stands at byte {received} of {size}")
            if received > size:
                raise IntegrityError(f"{received} bytes came for {digest}, which has {size}")
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                found = self._digest(fd, size)
                if found != digest:
                    raise IntegrityError(f"what came for {digest} has the sha256 {found}")
                os.fchmod(fd, 0o444)
                os.fsync(fd)
            finally:
                os.close(fd)
            self._path.replace(target)

    def _digest(self, fd: int, size: int) -> str:
        while self._hashed < size and (data := os.pread(fd, _BLOCK, self._hashed)):
            self._hash.update(data)
            self._hashed += len(data)
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Drop what was received."""
        with self._lock:
            remove_quietly(self._path)
            self._restart()

    def _restart(self) -> None:
        self._hash = hashlib.sha256()
        self._hashed = 0
