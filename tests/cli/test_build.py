"""``image build`` and ``image import --root-tar`` as programs, on real packages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootserve.build.bundle import Bundle, read_bundle, verify_bundle
from bootserve.build.image import default_cache_dir
from tests.cli.runner import PROGRAM, Cli, run, run_on_terminal
from tests.support.bundles import DEMO, ROOT

STAGES = [
    *("definition", "resolve", "unpack", "files", "scripts", "initramfs", "seal", "list", "root")
]
STAGES += ["verity", "bundle"]
FILE_SYSTEMS = ("erofs", "overlayfs", "squashfs")


def stages(told: str) -> list[str]:
    """The stages in a pipe's lines, ``12.3 s  root``."""
    lines = [line.split() for line in told.splitlines()]
    return [words[2] for words in lines if len(words) == 3 and words[1] == "s"]


@pytest.fixture
def cache(demo_bundle: Bundle, tmp_path: Path) -> Path:
    """A package cache of this test alone, with what the usual one holds."""
    usual, own = default_cache_dir(), tmp_path / "cache"
    assert demo_bundle.manifest.image == "demo"  # it has been built, so all packages are there
    own.mkdir()
    for state in usual.glob("apt-*"):
        shutil.copytree(state, own / state.name)
    for folder, kind in (("debs", "*.deb"), ("trees", "*.tar")):
        (own / folder).mkdir()
        for file in (usual / folder).glob(kind):
            try:
                os.link(file, own / folder / file.name)
            except OSError:
                shutil.copy(file, own / folder / file.name)
    return own


def litter(cache: Path) -> list[Path]:
    """What a build has left in ``cache`` beside packages and finished trees."""
    kept = {"debs", "trees", "lock", "bootserve-initramfs.tree", "bootserve-initramfs_1_all.deb"}
    found = [path for path in cache.iterdir() if path.name not in kept]
    found = [path for path in found if not path.name.startswith("apt-")]
    return found + [path for path in (cache / "trees").iterdir() if path.suffix != ".tar"]


def test_a_build_on_a_terminal_draws_a_bar_and_is_imported(
    cli: Cli, demo_bundle: Bundle, cache: Path
) -> None:
    (cache / "trees/0123.partial").write_bytes(b"of a build that was killed")
    (cache / "trees/repo-killed").mkdir()
    words = ("--state-dir", cli.state_dir, "image", "build", DEMO, "--import")
    shown = run_on_terminal(*words, "--cache-dir", cache)
    assert shown.code == 0, shown.out
    assert "━" in shown.out
    for stage in ("unpack", "initramfs", "root"):
        assert stage in shown.out
    assert stages(shown.out) == []
    assert "demo@1 is imported" in shown.out
    imported = cli.json("image", "show", "demo@1")
    assert imported["digest"] == demo_bundle.manifest.digest
    assert cli("image", "verify", "demo@1").out == "files: ok\ninitrd: ok\nkernel: ok\nroot: ok\n"
    assert litter(cache) == []


@pytest.fixture
def readable(tmp_path: Path) -> Iterator[Path]:
    """A folder that every user may enter, wherever pytest has its own."""
    folder = Path("/var/tmp") / f"bootserve-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


# As root in a mount name space: the checkout and the packages where every user can read them, and a
# user who has ranges of ids, as adduser gives them.
AS_USER = """\
set -eu
mount -t tmpfs -o mode=755 own /mnt
for name in checkout packages work; do mkdir /mnt/$name; done
mount --bind "$1" /mnt/checkout
mount --bind "$2" /mnt/packages
mount --bind "$3" /mnt/work
for name in passwd subuid subgid; do mount --bind "$3/$name" /etc/$name; done
shift 3
cd /mnt/work
export HOME=/mnt/work PYTHONPATH=/mnt/checkout:/mnt/packages
exec setpriv --reuid 4242 --regid 4242 --clear-groups "$@"
"""


def as_user(work: Path, ranges: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``words`` as a user of its own with ``work`` as home."""
    packages = Path(pytest.__file__).parents[1]
    (work / "passwd").write_text(
        Path("/etc/passwd").read_text() + "builder:x:4242:4242::/mnt/work:/bin/sh\n"
    )
    for name in ("subuid", "subgid"):
        (work / name).write_text(ranges)
    enter = ["unshare", "--mount", "sh", "-c", AS_USER, "sh"]
    return subprocess.run(
        [*enter, str(ROOT), str(packages), str(work), "/usr/bin/python3.11", "-m", *words],
        capture_output=True,
        text=True,
        timeout=250,
        stdin=subprocess.DEVNULL,
    )


def test_a_user_with_id_ranges_builds_the_same_image(
    demo_bundle: Bundle, cache: Path, readable: Path
) -> None:
    own = readable / ".cache/bootserve"
    shutil.copytree(cache, own)
    for path in (readable, readable / ".cache", own, *own.rglob("*")):
        os.chown(path, 4242, 4242)
    words = ("bootserve", "image", "build", "/mnt/checkout/images/demo", "--output", "out")
    done = as_user(readable, "builder:900000:65536\n", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"out: demo, {demo_bundle.manifest.digest}\n"
    assert stages(done.stderr) == STAGES
    assert "\x1b" not in done.stderr
    assert "━" not in done.stderr
    assert verify_bundle(readable / "out") == demo_bundle.manifest
    assert (readable / "out/manifest.json").stat().st_uid == 4242
    assert litter(own) == []


def test_a_user_without_id_ranges_is_told_what_is_missing(readable: Path) -> None:
    os.chown(readable, 4242, 4242)
    words = ("bootserve", "image", "build", "/mnt/checkout/images/demo", "--output", "out")
    done = as_user(readable, "", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "bootserve: this user cannot make the name space that a build needs\n" in done.stderr
    assert "/etc/subuid" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (readable / "out").exists()


def test_a_build_tells_its_manifest_as_json(demo_bundle: Bundle, tmp_path: Path) -> None:
    done = run("image", "build", DEMO, "--output", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    told = done.json
    assert Path(told["bundle"]) == tmp_path / "out"
    assert told["digest"] == demo_bundle.manifest.digest
    assert told["manifest"] == demo_bundle.manifest.model_dump(mode="json")
    assert verify_bundle(tmp_path / "out") == demo_bundle.manifest


def mounts_below(folder: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]


@pytest.mark.parametrize("stage", ["install", "scripts"])
def test_ctrl_c_during_a_build_leaves_nothing(
    stage: str, demo_bundle: Bundle, cache: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    fresh = ["--fresh"] if stage == "install" else []
    words = ["image", "build", str(DEMO), "--output", str(tmp_path / "out"), *fresh]
    with subprocess.Popen(
        [*PROGRAM, *words, "--cache-dir", str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if stages(line) == [stage]:
                # as a terminal does: to every process in front
                os.killpg(process.pid, signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "bootserve: interrupted\n"
    assert not (tmp_path / "out").exists()
    assert litter(cache) == []
    assert list(scratch.iterdir()) == []
    assert mounts_below(tmp_path) == []
    assert group_ends(process.pid)


def group_ends(group: int) -> bool:
    """Whether every process of ``group`` ends: those that were told last may need a moment."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_root_tarball_is_imported(
    cli: Cli, demo_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    release = demo_bundle.manifest.kernel_release
    tarball = small_root(demo_bundle, tmp_path)
    words = ("image", "import", "--name", "web", "--root-tar", tarball, "--cmdline", "quiet")
    done = cli(*words, "--kernel-release", release)
    assert done.out.startswith("web@1 is imported, ")
    assert {"unpack", "initramfs", "seal", "root"} <= set(stages(done.err))
    manifest = cli.json("image", "show", "web@1")["manifest"]
    assert (manifest["kernel_release"], manifest["cmdline"]) == (release, "quiet")
    assert manifest["packages"] == dict(demo_bundle.manifest.packages)
    kernel = demo_bundle.manifest.artifacts["kernel"].sha256
    assert manifest["artifacts"]["kernel"]["sha256"] == kernel
    cli("image", "export", "web@1", "--output", tmp_path / "out")
    root = read_bundle(tmp_path / "out").artifact("root")
    listed = subprocess.run(["unsquashfs", "-l", root], capture_output=True, text=True, check=True)
    assert "/usr/lib/bootserve/report\n" in listed.stdout
    assert "/boot/vmlinuz" not in listed.stdout
    assert list((tmp_path / "cache/bootserve").iterdir()) == []

    loop = f"./usr/lib/modules/{release}/kernel/drivers/block/loop.ko"
    subprocess.run(["tar", "--delete", "-f", tarball, loop], check=True)
    told = cli(*words, code=1).err
    assert "bootserve: the root lacks the module kernel/drivers/block/loop.ko of its" in told
    assert list((tmp_path / "cache/bootserve").iterdir()) == []


def small_root(bundle: Bundle, folder: Path) -> Path:
    """Tar as much of the demo's root as an import needs, with its kernel."""
    tree = folder / "tree"
    modules = f"usr/lib/modules/{bundle.manifest.kernel_release}"
    wanted = ["etc", "bin", "lib", "usr/bin/busybox", "var/lib/dpkg/status"]
    drivers = ("block", "hv", "net", "pci", "virtio", "watchdog")
    parts = [f"drivers/{name}" for name in drivers] + [f"fs/{name}" for name in FILE_SYSTEMS]
    wanted += [f"{modules}/modules.*"]
    wanted += [f"{modules}/kernel/{part}" for part in (*parts, "lib", "crypto", "net/core")]
    argv = ["unsquashfs", "-quiet", "-no-progress", "-dest", str(tree)]
    subprocess.run([*argv, str(bundle.artifact("root")), *wanted], check=True, capture_output=True)
    (tree / "boot").mkdir()
    kernel = tree / f"boot/vmlinuz-{bundle.manifest.kernel_release}"
    shutil.copy(bundle.artifact("kernel"), kernel)
    subprocess.run(["tar", "-C", tree, "-cf", folder / "root.tar", "."], check=True)
    return folder / "root.tar"
