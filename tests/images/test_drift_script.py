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


KERNEL = """\
proc=$PWD/proc
mkdir -p proc/self proc/sys/kernel proc/sys/vm proc/sys/net/ipv4
set_to() { mkdir -p "proc/sys/${1%/*}"; echo "$2" > "proc/sys/$1"; chmod 644 "proc/sys/$1"; }
set_to kernel/tainted 0
set_to kernel/sysrq 438
set_to kernel/hostname node
set_to kernel/ns_last_pid 100
set_to vm/overcommit_memory 0
set_to net/ipv4/tcp_rmem "4096	131072	6291456"
set_to net/ipv4/lines "one
two"
set_to kernel/random_boot_id first; chmod 444 proc/sys/kernel/random_boot_id
printf '%s\\n' 'overlay 151552 1 - Live 0x0' 'loop 32768 0 - Live 0x0' > proc/modules
root='22 1 0:21 / / rw,relatime shared:1 - overlay overlay rw'
disk='40 22 8:1 / /var/lib/ceph rw - xfs /dev/sda1 rw'
printf '%s\\n' "$root" "$disk" > proc/self/mountinfo
printf '%s\\n' "$proc/sys/vm/overcommit_memory" '/sys/module/ip_vs*' /mnt/scratch \
    > lower/usr/lib/bootserve/declared
drift() { "$SCRIPT" "$1" state upper lower "$proc"; }
drift take > sealed; drift compare; cat state/drift
"""
OTHERWISE = """\
set_to kernel/tainted 4097
set_to kernel/sysrq 1
set_to kernel/ns_last_pid 200
set_to vm/overcommit_memory 1
set_to net/ipv4/tcp_rmem "4096	131072	9999999"
set_to net/ipv4/lines "one
three"
set_to net/ipv4/new 1
chmod 644 proc/sys/kernel/random_boot_id; echo second > proc/sys/kernel/random_boot_id
chmod 444 proc/sys/kernel/random_boot_id
printf '%s\\n' 'overlay 151552 1 - Live 0x0' 'dummy 16384 0 - Live 0x0' \
    'ip_vs_rr 16384 0 - Live 0x0' > proc/modules
printf '%s\\n' "$root" "$disk" \
    '50 22 0:40 / /usr/bin rw,relatime - tmpfs hidden rw' \
    '51 22 0:41 /etc/a\\040b /etc/a\\040b rw - ext4 /dev/sdb rw' \
    '52 22 0:42 / /run/user/0 rw - tmpfs tmpfs rw' \
    '53 22 0:43 / /run/bootserve/overlay rw - tmpfs tmpfs rw' \
    '54 22 0:44 / /mnt/scratch/1 rw - tmpfs tmpfs rw' > proc/self/mountinfo
drift compare > digest
"""


def told(text: str, folder: Path) -> set[tuple[str, str, str]]:
    """Return kind, path and detail of what is told, as if ``folder``/proc were /proc."""
    _, entries = parse_drift(text.encode())
    return {(one.kind.value, one.path.removeprefix(str(folder)), one.detail) for one in entries}


def test_what_is_otherwise_in_the_kernel_is_told(folder: Path) -> None:
    text = run(folder, f"{KERNEL}{OTHERWISE}cat state/drift")
    assert told(text, folder) == {
        ("taint", "/proc/sys/kernel/tainted", "0 -> 4097"),
        ("sysctl", "/proc/sys/kernel/sysrq", "438 -> 1"),
        ("sysctl", "/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456 -> 4096\t131072\t9999999"),
        ("sysctl", "/proc/sys/net/ipv4/lines", "one two -> one three"),
        ("module", "/sys/module/dummy", "loaded"),
        ("mount", "/usr/bin", "tmpfs hidden /"),
        ("mount", "/etc/a\\040b", "ext4 /dev/sdb /etc/a\\040b"),
        ("mount", "/run/bootserve/overlay", "tmpfs tmpfs /"),
    }


def test_what_is_as_before_in_the_kernel_again_is_told_no_more(folder: Path) -> None:
    back = "set_to kernel/tainted 0; set_to kernel/sysrq 438; cp -r before/. proc; drift compare\n"
    keep = "cp -r proc before\n"
    assert run(folder, f"{KERNEL}{keep}{OTHERWISE}{back}cat state/drift") == ""
