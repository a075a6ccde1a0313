"""Packages that are unpacked for tests: fetched also where apt's lists are old."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.debs import unpacked

APT = """\
#!/bin/sh
echo "$*" >> %(here)s/asked
case $* in
    "-q update") : > %(here)s/lists; exit 0 ;;
    *Dir::Cache::archives=*" install old") ;;
    *) exit 2 ;;
esac
[ -e %(here)s/lists ] || { echo "E: Unable to locate package old" >&2; exit 100; }
for word; do case $word in Dir::Cache::archives=*) cp %(here)s/old.deb "${word#*=}" ;; esac; done
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have an apt-get that finds the package ``old`` once its lists are new; what it was asked."""
    (tmp_path / "old/DEBIAN").mkdir(parents=True)
    fields = {"Package": "old", "Version": "1", "Architecture": "all", "Maintainer": "x <x@y>"}
    control = "".join(f"{name}: {value}\n" for name, value in fields.items())
    (tmp_path / "old/DEBIAN/control").write_text(f"{control}Description: of a test\n")
    (tmp_path / "old/usr").mkdir()
    (tmp_path / "old/usr/there").write_text("yes")
    subprocess.run(["dpkg-deb", "--build", tmp_path / "old"], check=True, stdout=subprocess.DEVNULL)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/apt-get"
    program.write_text(APT % {"here": tmp_path})
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "asked"


def test_lists_that_are_old_are_brought_up_to_date_once(apt: Path) -> None:
    assert (unpacked("name", ["old"]).root / "usr/there").read_text() == "yes"
    assert [line.split()[-1] for line in apt.read_text().splitlines()] == ["old", "update", "old"]
    unpacked("name", ["old"])
    assert len(apt.read_text().splitlines()) == 3  # it is in the cache


def test_what_is_not_there_is_told(apt: Path) -> None:
    with pytest.raises(AssertionError, match="cannot be fetched"):
        unpacked("name", ["missing"])
    assert [line.split()[-1] for line in apt.read_text().splitlines()] == [
        *("missing", "update", "missing")
    ]
