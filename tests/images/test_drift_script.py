"""The node's script that finds drift, on a real overlay in a mount name space of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootserve.core.drift_text import parse_drift
from tests.support.bundles import ROOT

SCRIPT = ROOT / "images/node/root/usr/lib/bootserve/drift"
SETUP = """\
set -e
mount -t tmpfs drift "$1"
cd "$1"
mkdir lower upper work root state
mkdir -p lower/usr/lib/bootserve lower/etc lower/var/log lower/usr/share/full/deep
for name in same changed mode deleted; do echo $name > lower/etc/$name; done
ln -s same lower/etc/link
echo full > lower/usr/share/full/deep/file
printf '/var/log\\n/root/.*_history\\n' > lower/usr/lib/bootserve/declared
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work,metacopy=off,redirect_dir=off o root
drift() { "$SCRIPT" "$1" state upper lower; }
"""
ALTER = """\
echo more >> root/etc/changed
chmod 4755 root/etc/mode
rm root/etc/deleted
rm root/etc/link; ln -s /other//place root/etc/link
rm -r root/usr/share/full; mkdir root/usr/share/full
echo new > 'root/etc/a new
file'
mkdir -p root/root root/var/log/deep; echo x > root/root/.bash_history; echo x > root/var/log/deep/x
mount -t tmpfs over root/etc/same 2> /dev/null || mount --bind root/etc/mode root/etc/same
"""
ALTERED = {
    ("changed", "/etc/changed"),
    ("mode", "/etc/mode"),
    ("deleted", "/etc/deleted"),
    ("changed", "/etc/link"),
    ("deleted", "/usr/share/full"),
    ("written", "/etc/a new\nfile"),
    ("written", "/root"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "layers"
    made.mkdir()
    return made


def run(folder: Path, commands: str) -> str:
    argv = ["unshare", "--mount", "sh", "-c", SETUP + commands, "sh", str(folder)]
    env = {"SCRIPT": str(SCRIPT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def found(text: str, folder: Path) -> set[tuple[str, str]]:
    """Return what the drift in ``text`` says of the layers, without this machine's own mounts."""
    _, entries = parse_drift(text.encode())
    return {(one.kind.value, one.path) for one in entries if not one.path.startswith(str(folder))}


@pytest.mark.parametrize("before", ["", "echo made > root/etc/made\n"], ids=["empty", "some"])
def test_what_is_altered_is_told_apart(folder: Path, before: str) -> None:
    text = run(
        folder, f"{before}drift take > sealed; {ALTER}drift compare > digest; cat state/drift"
    )
    assert found(text, folder) == ALTERED
    mounts = [one.path for one in parse_drift(text.encode())[1] if one.kind == "mount"]
    assert mounts == [f"{folder}/root/etc/same"]


def test_nothing_is_told_of_what_was_before_and_of_what_is_as_before(folder: Path) -> None:
    rewritten = "rm root/etc/made; echo made > root/etc/made; echo made2 > root/etc/made2\n"
    commands = "echo made > root/etc/made; drift take > sealed; drift compare; cat state/drift\n"
    again = (
        "echo ---; drift compare > digest; drift seal > again; cmp sealed again; cat state/drift"
    )
    first, _, second = run(folder, commands + rewritten + again).partition("---\n")
    assert first == ""
    assert found(second, folder) == {("written", "/etc/made2")}


@pytest.mark.parametrize(
    "file", ["drift.new", "now/listing.new", "now/sysctls", "now/fresh", "now/below", "now/opaque"]
)
def test_what_cannot_be_written_down_is_not_nothing(folder: Path, file: str) -> None:
    """The disk of /run is full: the node does not know, and knows when there is room again."""
    text = run(
        folder,
        f"""\
drift take > sealed; rm -r root/usr/share/full; mkdir root/usr/share/full
echo more >> root/etc/changed
mkdir -p state/now; ln -s /dev/full state/{file}
timeout 30 "$SCRIPT" compare state upper lower && exit 1
rm -f state/{file}; drift compare > digest; [ -s digest ]; cat state/drift""",
    )
    assert found(text, folder) == {("changed", "/etc/changed"), ("deleted", "/usr/share/full")}


def test_what_is_told_half_is_not_told(folder: Path) -> None:
    """The program that tells is killed."""
    text = run(
        folder,
        """\
mkdir bin; drift take > sealed; echo new > root/etc/new; drift compare > digest
printf '#!/bin/sh\n[ "$#" -lt 10 ] || exit 137\nexec /bin/busybox "$@"\n' > bin/busybox
chmod +x bin/busybox; PATH=$PWD/bin:$PATH
timeout 30 "$SCRIPT" compare state upper lower > told || echo refused""",
    )
    assert text == "refused\n"


def test_another_snapshot_has_another_seal(folder: Path) -> None:
    change = "echo '' > state/base/listing; drift seal"
    sealed, again = run(folder, f"echo made > root/etc/made; drift take; {change}").splitlines()
    assert len(sealed) == len(again) == 64
    assert sealed != again


def test_what_is_too_much_is_counted(folder: Path) -> None:
    many = "i=0; while [ $i -lt 1500 ]; do echo $i > root/etc/n$i; i=$((i + 1)); done\n"
    text = run(folder, f"drift take > sealed; {many}drift compare > digest; cat state/drift")
    count, entries = parse_drift(text.encode())
    assert (count, len(text) < 61_000) == (1500, True)
    assert 300 < len(entries) <= 1000


def test_only_what_is_new_is_hashed_again(folder: Path) -> None:
    count = """\
mkdir bin
printf '#!/bin/sh\\necho hashed >> %s/log\\nexec /usr/bin/sha256sum "$@"\\n' "$PWD" > bin/sha256sum
chmod +x bin/sha256sum
PATH=$PWD/bin:$PATH
drift take > sealed; : > log
echo new > root/etc/new; drift compare > digest; wc -l < log; : > log
drift compare > again; cmp digest again; wc -l < log
"""
    changed, unchanged = map(int, run(folder, count).split())
    assert changed > unchanged
    assert unchanged == 1  # of the text itself
