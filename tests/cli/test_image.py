"""Commands on images, against a real server: bundles go up, come back and are removed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from vm_harness.server import BootServer

from bootserve.build.bundle import artifact_of, read_bundle, write_bundle
from bootserve.build.progress import Progress
from bootserve.cli import transfer
from bootserve.cli.client import Api, Endpoint, Reply
from bootserve.cli.meters import build_meter
from bootserve.cli.output import Output
from bootserve.model.generation import Manifest
from bootserve.model.names import Arch
from bootserve.servers.admin.schemas_seen import ImportOut
from tests.cli.runner import Cli, run_on_terminal
from tests.support.api import Admin

CHUNK = transfer.CHUNK


def bundle(folder: Path, image: str, size: int = 5000, **fields: Any) -> Manifest:
    """Write a bundle of random files at ``folder`` and return its manifest."""
    files = {}
    for name, count in (("kernel", 3000), ("initrd", 4000), ("root", size)):
        files[name] = folder.with_name(f"{folder.name}-{name}")
        files[name].write_bytes(os.urandom(count))
    manifest = Manifest(
        image=image,
        arch=Arch.AMD64,
        artifacts={name: artifact_of(file) for name, file in files.items()},
        packages={"bash": "5.2-1", "zlib1g": "1:1.3"},
        **fields,
    )
    write_bundle(folder, manifest, files)
    return manifest


def same_files(one: Path, other: Path) -> bool:
    def contents(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    return contents(one) == contents(other) != {}


def test_a_bundle_goes_up_and_comes_back_bit_for_bit(cli: Cli, tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "b", "web", cmdline="console=ttyS0")
    result = cli("image", "import", tmp_path / "b")
    assert result.out == "web@1 is imported, 12.0 kB. Pin it with 'bootserve pin'.\n"
    assert "kernel: 3.0 kB\n" in result.err
    assert "12.0 kB in " in result.err
    again = cli("image", "import", tmp_path / "b")
    assert again.out == "web@1 has this digest already; nothing was imported.\n"
    assert " in " not in again.err
    assert cli.json("image", "import", tmp_path / "b")["created"] is False
    out = tmp_path / "deep" / "out"
    said = cli("image", "export", "web@1", "--output", out)
    assert said.out == f"{out}: web@1, {manifest.digest}\n"
    assert same_files(tmp_path / "b", out)
    shown = cli.json("image", "export", "web@1", "-o", out)
    assert shown["manifest"] == json.loads(manifest.to_bytes())
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_show_and_list(cli: Cli, tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "b", "shown", cmdline="quiet", kernel_release="6.1.0-18")
    cli("image", "import", tmp_path / "b")
    text = cli("image", "show", "shown@1").out
    for part in (manifest.digest, "6.1.0-18", "quiet", manifest.artifacts["root"].sha256):
        assert part in text
    assert "Used by           nothing\n" in text
    assert "bash" not in text
    assert "zlib1g   1:1.3\n" in cli("image", "show", "shown@1", "--packages").out
    assert cli.json("image", "show", "shown@1")["digest"] == manifest.digest
    lines = cli("image", "list", "shown").out.splitlines()
    assert lines[0].split() == ["GENERATION", "ARCH", "SIZE", "IMPORTED", "BY", "DIGEST"]
    assert lines[1].startswith("shown@1     amd64  12.0 kB")
    assert lines[1].endswith(manifest.digest)
    assert cli("image", "list", "none").out == ""
    assert "image build" in cli("image", "list", "none").err
    assert "there is no generation shown@9" in cli("image", "show", "shown@9", code=1).err


def test_removing_keeps_the_manifest_and_is_refused_while_in_use(cli: Cli, tmp_path: Path) -> None:
    bundle(tmp_path / "b", "old")
    cli("image", "import", tmp_path / "b")
    cli("pin", "site", "old@1", "-m", "use it")
    assert "old@1 is in use" in cli("image", "rm", "old@1", code=1).err
    cli("image", "import", tmp_path / "b")
    bundle(tmp_path / "c", "old")
    cli("image", "import", tmp_path / "c")
    assert cli("image", "rm", "old@2").out == "old@2 is removed; its manifest is kept.\n"
    names = [one["name"] for one in cli.json("image", "list", "old")["generations"]]
    assert names == ["old@1"]
    removed = cli.json("image", "list", "old", "--removed")["generations"]
    assert [one["name"] for one in removed] == ["old@1", "old@2"]
    assert "REMOVED" in cli("image", "list", "old", "--removed").out
    assert "Removed" in cli("image", "show", "old@2").out
    assert cli("image", "export", "old@2", "-o", tmp_path / "x", code=1).out == ""
    assert not (tmp_path / "x").exists()


def test_a_revoked_generation_is_given_to_nobody_until_it_is_lifted(
    cli: Cli, tmp_path: Path
) -> None:
    bundle(tmp_path / "b", "unfit")
    cli("image", "import", tmp_path / "b")
    assert "say why" in cli("image", "revoke", "unfit@1", "-m", " ", code=2).err
    done = cli("image", "revoke", "unfit@1", "-m", "it eats disks")
    assert done.out == "unfit@1 is revoked; no node is given it any more.\n"
    assert "REVOKED" in cli("image", "list", "unfit").out
    assert "by root: it eats disks" in cli("image", "show", "unfit@1").out
    assert (
        "unfit@1 was revoked by root: it eats disks" in cli("image", "import", tmp_path / "b").err
    )
    refused = cli("pin", "site", "unfit@1", "-m", "use it", code=1).err
    assert "unfit@1 was revoked by root: it eats disks" in refused
    assert "bootserve image unrevoke unfit@1" in refused
    assert cli.json("image", "show", "unfit@1")["revoked"]["reason"] == "it eats disks"
    cli("image", "unrevoke", "unfit@1", "-m", "it was the cable")
    cli("pin", "site", "unfit@1", "-m", "use it")
    in_use = cli("image", "revoke", "unfit@1", "-m", "again", code=1).err
    assert "unfit@1 is in use: pin site (now)" in in_use
    cli("unpin", "site", "unfit", "-m", "tidy")
    story = cli("audit", "--kind", "revoke").out
    assert "unfit@1 revoked: it eats disks" in story
    assert "unfit@1 not revoked: it was the cable" in story


def flip(cli: Cli, digest: str) -> None:
    """Flip a bit in the middle of the artifact with ``digest``, of some bytes."""
    (stored,) = cli.state_dir.rglob(f"sha256/*/{digest}")
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.chmod(0o644)
    stored.write_bytes(data)


def test_verify_quarantines_a_flipped_byte_and_export_does_not_pass_it_on(
    cli: Cli, tmp_path: Path
) -> None:
    manifest = bundle(tmp_path / "b", "bad", size=100_000)
    cli("image", "import", tmp_path / "b")
    assert cli("image", "verify", "bad@1").out == "initrd: ok\nkernel: ok\nroot: ok\n"
    digest = manifest.artifacts["root"].sha256
    flip(cli, digest)
    failed = cli("image", "export", "bad@1", "-o", tmp_path / "x", code=1)
    assert f"what came for {digest} has the sha256 " in failed.err
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("b")) == []
    assert "root: corrupt, now in quarantine\n" in cli("image", "verify", "bad@1", code=1).out
    again = cli.json("image", "verify", "bad@1", code=1)
    assert (again["artifacts"]["root"], again["intact"]) == ("missing", False)
    assert digest in cli("status", code=1).out
    troubled = cli("status", code=1)
    assert "not ready" in troubled.out
    assert "1 artifact is in quarantine: import its generation again" in troubled.out
    assert cli.json("status", code=1)["ready"] is False
    assert cli("image", "import", tmp_path / "b").out.startswith("bad@1 has this digest already")
    assert cli("image", "verify", "bad@1").out == "initrd: ok\nkernel: ok\nroot: ok\n"
    flip(cli, digest)
    assert f"quarantined: {digest}\n" in cli("scrub", code=1).out
    assert cli("image", "rm", "bad@1").out.startswith("bad@1 is removed")
    assert cli.json("status")["quarantined"] == []


def test_an_upload_goes_on_where_it_broke_off(cli: Cli, admin: Admin, tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "b", "resumed", size=CHUNK + 5000)
    digest = manifest.artifacts["root"].sha256
    data = (tmp_path / "b" / "sha256" / digest).read_bytes()
    status, _ = admin.raw(
        "PUT", f"/api/v1/artifacts/{digest}?offset=0&size={len(data)}", data[: CHUNK + 1000]
    )
    assert status == 200
    result = cli("image", "import", tmp_path / "b")
    assert result.out.startswith("resumed@1 is imported")
    assert "11.0 kB in " in result.err  # kernel, initrd and the last 4000 bytes of the root


def test_what_was_dropped_before_it_was_registered_is_sent_again(cli: Cli, tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "b", "dropped")
    dropped: list[Path] = []

    def moved(name: str, count: int) -> None:
        """Drop the kernel when the last artifact has come, as an import without room has it."""
        if not dropped and (name, count) == ("root", manifest.artifacts["root"].size):
            dropped.extend(cli.state_dir.rglob(manifest.artifacts["kernel"].sha256))
            dropped[0].unlink()

    async def send() -> Reply[ImportOut]:
        async with Api(Endpoint(cli.state_dir / "admin.sock")) as api:
            return await transfer.upload_bundle(api, read_bundle(tmp_path / "b"), moved)

    done = asyncio.run(send())
    assert (done.value.generation.name, len(dropped)) == ("dropped@1", 1)
    assert cli("image", "verify", "dropped@1").out.count(": ok\n") == 3


def test_an_upload_outlives_a_killed_server(cli: Cli, server: BootServer, tmp_path: Path) -> None:
    bundle(tmp_path / "b", "survivor", size=12 * CHUNK)
    partial = cli.state_dir / "artifacts" / "partial"

    def sizes() -> list[int]:
        found = []
        for file in partial.glob("*"):
            with contextlib.suppress(FileNotFoundError):  # it has just become whole
                found.append(file.stat().st_size)
        return found

    def strike() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and max(sizes(), default=0) < CHUNK:
            time.sleep(0.001)
        server.kill()
        struck.append(sum(sizes()))
        server.start()

    struck: list[int] = []
    striker = threading.Thread(target=strike)
    striker.start()
    result = cli("image", "import", tmp_path / "b")
    striker.join()
    assert 0 < struck[0] < 12 * CHUNK, "the server was killed in the middle"
    assert result.out.startswith("survivor@1 is imported")
    assert cli("image", "verify", "survivor@1").out.count(": ok\n") == 3


def test_a_bundle_that_is_damaged_is_refused(cli: Cli, tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "b", "damaged")
    root = tmp_path / "b" / "sha256" / manifest.artifacts["root"].sha256
    root.write_bytes(bytes(5000))
    result = cli("image", "import", tmp_path / "b", code=1)
    assert f"has the sha256 {hashlib.sha256(bytes(5000)).hexdigest()}" in result.err
    root.write_bytes(b"short")
    assert "has 5 bytes, not 5000" in cli("image", "import", tmp_path / "b", code=1).err
    root.unlink()
    assert "is missing" in cli("image", "import", tmp_path / "b", code=1).err
    (tmp_path / "b" / "manifest.json").write_text("{")
    assert "malformed" in cli("image", "import", tmp_path / "b", code=1).err
    assert cli.json("image", "list", "damaged")["generations"] == []


def test_a_manifest_that_does_not_match_is_refused(cli: Cli, tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "b", "mismatch")
    path, true = tmp_path / "b" / "manifest.json", manifest.to_bytes().decode()
    kernel = manifest.artifacts["kernel"].sha256
    other = hashlib.sha256(b"another kernel").hexdigest()
    path.write_text(json.dumps(json.loads(true), indent=1))
    assert "is not canonical JSON" in cli("image", "import", tmp_path / "b", code=1).err
    path.write_text(true.replace(kernel, other))  # it promises what the bundle has not
    assert f"artifact kernel ({other}) is missing" in (
        cli("image", "import", tmp_path / "b", code=1).err
    )
    (tmp_path / "b" / "sha256" / kernel).rename(tmp_path / "b" / "sha256" / other)
    refused = cli("image", "import", tmp_path / "b", code=1)
    assert f"what came for {other} has the sha256 {kernel}" in refused.err
    assert cli.json("image", "list", "mismatch")["generations"] == []
    assert list(cli.state_dir.rglob(other)) == list(cli.state_dir.rglob(kernel)) == []


def test_three_files_become_a_generation(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kernel, initrd, root = (tmp_path / name for name in ("vmlinuz", "initrd", "root.sqfs"))
    kernel.write_bytes(bytes(0x202) + b"HdrS" + os.urandom(100))
    initrd.write_bytes(os.urandom(100))
    # A squashfs 4.0 superblock of zstd (Documentation/filesystems/squashfs.rst), and nothing else.
    root.write_bytes(
        struct.pack("<4s5I6H", b"hsqs", 0, 0, 4096, 0, 6, 12, 0, 0, 4, 0, 0).ljust(4096)
    )
    files = ("--kernel", kernel, "--initrd", initrd, "--root", root)
    words = ("image", "import", "--name", "own", *files)
    said = cli(*words, "--cmdline", "quiet", "--writable", "/etc/x", "--min-memory-mib", "512")
    assert said.out.startswith("own@1 is imported")
    manifest = cli.json("image", "show", "own@1")["manifest"]
    assert (manifest["cmdline"], manifest["writable"]) == ("quiet", ["/etc/x"])
    assert (manifest["min_memory_mib"], manifest["arch"]) == (512, "amd64")
    assert manifest["artifacts"]["kernel"]["size"] == kernel.stat().st_size
    wrong = cli(*words, "--arch", "arm64", code=1)
    assert "is no Linux kernel image for arm64" in wrong.err
    bad = cli("image", "import", "--name", "Own", *files, code=1)
    assert "not a usable image name" in bad.err
    huge = cli(*words, "--min-memory-mib", str(1 << 30), code=1)
    assert "less than or equal to 1048576" in huge.err
    missing = cli("image", "import", "--name", "own", "--root-tar", tmp_path / "no.tar", code=1)
    assert f"{tmp_path}/no.tar is no file" in missing.err
    assert list((tmp_path / "cache" / "bootserve").glob("bundle-*")) == []


def test_a_definition_that_is_wrong(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "image.toml").write_text('name = "x"\ncolour = "red"\n')
    result = cli("image", "build", tmp_path, "--cache-dir", tmp_path / "cache", code=1)
    assert result.out == ""
    assert str(tmp_path / "image.toml") in result.err
    (tmp_path / "image.toml").unlink()
    assert "holds no image.toml" in cli("image", "build", tmp_path, code=1).err


def test_progress_is_drawn_on_a_terminal(cli: Cli, tmp_path: Path) -> None:
    bundle(tmp_path / "b", "drawn", size=3 * CHUNK)
    words = ("--state-dir", cli.state_dir, "image", "import", tmp_path / "b")
    shown = run_on_terminal(*words)
    assert shown.code == 0
    assert "━" in shown.out
    assert "25.2/25.2 MB" in shown.out
    assert "/s" in shown.out
    assert "drawn@1 is imported" in shown.out


def test_a_build_lists_its_stages_once_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with build_meter(Output()) as tell:
        for fraction in (0.0, 0.5, 1.0):
            tell(Progress("download", fraction, "\x1b[31mx"))
        tell(Progress("root", 1.0))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line.split()[-1] for line in printed.err.splitlines()] == ["download", "root"]
