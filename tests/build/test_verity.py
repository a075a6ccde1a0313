"""Our root hash against the one of veritysetup."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from bootserve.build.verity import verity_root_hash


@pytest.mark.parametrize("blocks", [1, 2, 128, 129, 16385])
def test_the_root_hash_is_veritysetups(blocks: int, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(random.Random(blocks).randbytes(blocks * 4096))
    argv = [
        "veritysetup",
        "format",
        "--salt=-",
        "--hash=sha256",
        str(data),
        str(tmp_path / "hashes"),
    ]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    match = re.search(r"Root hash:\s+([0-9a-f]{64})", said)
    assert match
    assert verity_root_hash(data) == match[1]


def test_a_last_block_that_is_not_full_counts_as_filled_with_zeros(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x" * 5000)
    (tmp_path / "full").write_bytes((b"x" * 5000).ljust(8192, b"\0"))
    assert verity_root_hash(tmp_path / "short") == verity_root_hash(tmp_path / "full")


def test_progress_ends_at_one(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x" * 9_000_000)
    seen: list[float] = []
    verity_root_hash(tmp_path / "data", lambda fraction, _detail: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
