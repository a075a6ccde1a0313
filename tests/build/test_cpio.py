"""Our cpio archives as GNU cpio reads them."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from bootserve.build.cpio import CpioArchive


def test_cpio_unpacks_what_was_put_in(tmp_path: Path) -> None:
    archive = CpioArchive()
    archive.file("bin/tool", b"#!/bin/sh\n", mode=0o755)
    archive.file("etc/deep/er/odd-size", b"12345")
    archive.link("bin/sh", "tool")
    archive.directory("run", mode=0o700)
    subprocess.run(["cpio", "-id", "--quiet"], input=archive.to_bytes(), cwd=tmp_path, check=True)
    assert (tmp_path / "etc/deep/er/odd-size").read_bytes() == b"12345"
    assert stat.S_IMODE((tmp_path / "bin/tool").stat().st_mode) == 0o755
    assert os.readlink(tmp_path / "bin/sh") == "tool"
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


def test_devices_have_their_numbers() -> None:
    archive = CpioArchive()
    archive.device("dev/console", 5, 1)
    argv = ["cpio", "-itv", "--quiet"]
    listed = subprocess.run(argv, input=archive.to_bytes(), capture_output=True, check=True).stdout
    assert b"crw-------" in listed
    assert b"5,   1" in listed


def test_equal_content_gives_equal_bytes_and_a_name_comes_once() -> None:
    first, second = CpioArchive(), CpioArchive()
    for archive in (first, second):
        archive.file("a/b", b"x")
    assert first.to_bytes() == second.to_bytes()
    assert len(first.to_bytes()) % 512 == 0
    with pytest.raises(ValueError, match="a/b"):
        first.file("a/b", b"y")
