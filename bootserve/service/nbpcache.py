"""NBPs in memory for TFTP, read again when their file changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bootserve.errors import NotFound

__all__ = ["NbpCache"]


class NbpCache:
    """Looks NBPs up by file name; the bytes are read once for each version of the file."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._read: dict[str, tuple[tuple[int, int], bytes]] = {}

    def read(self, name: str) -> bytes:
        """Return the NBP's bytes; raises NotFound for a name that is not an NBP's."""
        path = self._files.get(name)
        if path is None:
            raise NotFound(f"there is no NBP {name[:100]!r}")
        try:
            status = path.stat()
            version = (status.st_mtime_ns, status.st_size)
            known = self._read.get(name)
            if known is None or known[0] != version:
                known = self._read[name] = (version, path.read_bytes())
        except OSError as error:
            raise NotFound(f"the NBP {name} cannot be read: {error.strerror}") from None
        return known[1]
