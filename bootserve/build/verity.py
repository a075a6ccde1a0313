"""The dm-verity root hash of a file, as ``veritysetup format --salt=-`` computes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["verity_root_hash"]

_BLOCK = 4096
_DIGEST = 32


def verity_root_hash(
    path: Path, progress: Callable[[float, str], None] = lambda _fraction, _detail: None
) -> str:
    """Return the root hash (hex) of the file's hash tree.

    Format 1 of the kernel's dm-verity (Documentation/admin-guide/device-mapper/verity.rst):
    SHA-256, data and hash blocks of 4096 bytes, no salt. A last block that is not full counts as
    filled with zeros, as it will be on a device.
    """
    level = _hash_file(path, progress)
    while len(level) > _DIGEST:
        level = b"".join(_hash_blocks(level))
    return level.hex()


def _hash_file(path: Path, progress: Callable[[float, str], None]) -> bytes:
    size = max(1, path.stat().st_size)
    digests, done = bytearray(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_BLOCK << 10):
            digests += b"".join(_hash_blocks(chunk))
            done += len(chunk)
            progress(min(1.0, done / size), "")
    return bytes(digests)


def _hash_blocks(data: bytes) -> Iterator[bytes]:
    view = memoryview(data)
    for start in range(0, len(data), _BLOCK):
        block = view[start : start + _BLOCK]
        if len(block) < _BLOCK:
            yield hashlib.sha256(bytes(block).ljust(_BLOCK, b"\0")).digest()
        else:
            yield hashlib.sha256(block).digest()
