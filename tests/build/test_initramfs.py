"""The initramfs: what is taken from a kernel's modules, and what a root must have."""

from __future__ import annotations

import lzma
import struct
import subprocess
from pathlib import Path

import pytest

from bootserve.build.bundle import Bundle
from bootserve.build.initramfs import build_initramfs, find_kernel_release, select_modules
from bootserve.build.nodefiles import node_files
from bootserve.errors import InvalidInput


def tree_with(tmp_path: Path, *releases: str) -> Path:
    for release in releases:
        (tmp_path / "boot").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"boot/vmlinuz-{release}").write_text("kernel")
        (tmp_path / f"lib/modules/{release}").mkdir(parents=True)
        (tmp_path / f"lib/modules/{release}/modules.dep").write_text("")
    return tmp_path


def test_modules_are_taken_with_what_they_need() -> None:
    dependencies = {
        "kernel/drivers/net/ethernet/intel/igb/igb.ko": ["kernel/drivers/i2c/algos/bit.ko"],
        "kernel/drivers/i2c/algos/bit.ko": [],
        "kernel/fs/overlayfs/overlay.ko.xz": [],
        "kernel/drivers/scsi/big.ko": ["kernel/drivers/scsi/mod.ko"],
        "kernel/drivers/net/ethernet/mellanox/mlxsw/mlxsw.ko": [],
    }
    assert select_modules(dependencies) == [
        "kernel/drivers/i2c/algos/bit.ko",
        "kernel/drivers/net/ethernet/intel/igb/igb.ko",
        "kernel/fs/overlayfs/overlay.ko.xz",
    ]


def test_the_one_kernel_is_found(tmp_path: Path) -> None:
    assert find_kernel_release(tree_with(tmp_path, "6.1.0-1")) == "6.1.0-1"


def test_of_several_kernels_one_must_be_named(tmp_path: Path) -> None:
    tree = tree_with(tmp_path, "6.1.0-1", "6.1.0-2")
    with pytest.raises(InvalidInput, match=r"several kernels: 6\.1\.0-1, 6\.1\.0-2"):
        find_kernel_release(tree)
    assert find_kernel_release(tree, "6.1.0-2") == "6.1.0-2"
    with pytest.raises(InvalidInput, match="no kernel 9"):
        find_kernel_release(tree, "9")


def test_a_root_without_kernel_or_without_its_modules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no kernel"):
        find_kernel_release(tmp_path)
    tree = tree_with(tmp_path, "6.1.0-1")
    (tree / "lib/modules/6.1.0-1/modules.dep").unlink()
    with pytest.raises(InvalidInput, match="has no kernel"):
        find_kernel_release(tree)


def test_a_root_without_static_busybox_is_refused(tmp_path: Path) -> None:
    tree = tree_with(tmp_path, "6.1.0-1")
    (tree / "bin").mkdir()
    # a program that needs an interpreter is of no use alone
    (tree / "bin/busybox").write_bytes(Path("/bin/true").read_bytes())
    with pytest.raises(InvalidInput, match="no static busybox"):
        build_initramfs(tree, release="6.1.0-1", node=node_files())


def test_the_initramfs_has_what_a_node_needs(demo_bundle: Bundle) -> None:
    packed = demo_bundle.artifact("initrd").read_bytes()
    raw = subprocess.run(["zstd", "-dcq"], input=packed, capture_output=True, check=True).stdout
    argv = ["cpio", "-it", "--quiet"]
    listed = subprocess.run(argv, input=raw, capture_output=True, check=True).stdout.decode()
    names = set(listed.splitlines())
    assert {"init", "bin/busybox", "lib/bootserve/boot", "lib/bootserve/post"} <= names
    modules = {Path(name).stem for name in names if name.endswith(".ko")}
    wanted = {"virtio_net", "vmxnet3", "virtio_pci", "loop", "squashfs", "erofs", "overlay"}
    assert wanted <= modules
    assert "libcrc32c" in modules


def module(*firmware: str) -> bytes:
    """Return a kernel module, of which nothing is there but the firmware that it asks for."""
    names = b"\0.modinfo\0.shstrtab\0"
    info = b"".join(f"firmware={name}".encode() + b"\0" for name in firmware)
    sections = [(0, 0, b""), (1, 1, info), (10, 3, names)]  # name, PROGBITS or STRTAB, content
    at, table, body = 64 + 64 * len(sections), b"", b""
    for name, kind, content in sections:
        where = at + len(body) if kind else 0
        table += struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, where, len(content), 0, 0, 1, 0)
        body += content
    start = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")  # 64 bits, little-endian; relocatable, x86-64
    fields = (1, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, len(sections), len(sections) - 1)
    return start + struct.pack("<HHIQQQIHHHHHH", *fields) + table + body


def contents(archive: bytes, folder: Path) -> dict[str, bytes]:
    """Return the files of a cpio archive and what is in them."""
    folder.mkdir()
    argv = ["cpio", "-idm", "--quiet", "--no-absolute-filenames"]
    subprocess.run(argv, input=archive, cwd=folder, check=True)
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_microcode_comes_first_and_the_firmware_that_its_drivers_ask_for_within(
    tmp_path: Path,
) -> None:
    tree = tree_with(tmp_path / "tree", "6.1.0-1")
    driver = "kernel/drivers/net/ethernet/x/x.ko"
    given = {
        "bin/busybox": module(),  # it is not run here, and names no interpreter
        f"lib/modules/6.1.0-1/{driver}": module("x/plain.fw", "x/packed.fw", "x/missing.fw"),
        "lib/modules/6.1.0-1/modules.dep": f"{driver}:\n".encode(),
        "lib/firmware/x/plain.fw": b"plain",
        "lib/firmware/x/packed.fw.xz": lzma.compress(b"packed"),
        "lib/firmware/x/not-asked-for.fw": b"other",
        "lib/firmware/intel-ucode/06-55-04": b"Intel 4",
        "lib/firmware/intel-ucode/06-55-07": b"Intel 7",
        "lib/firmware/amd-ucode/microcode_amd_fam17h.bin": b"AMD",
    }
    for name, content in given.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    made = build_initramfs(tree, release="6.1.0-1", node=node_files())

    early, packed, rest = made.partition(b"\x28\xb5\x2f\xfd")
    assert early.startswith(b"070701")
    assert contents(early, tmp_path / "early") == {
        "kernel/x86/microcode/GenuineIntel.bin": b"Intel 4Intel 7",
        "kernel/x86/microcode/AuthenticAMD.bin": b"AMD",
    }
    argv = ["zstd", "-dcq"]
    raw = subprocess.run(argv, input=packed + rest, capture_output=True, check=True).stdout
    found = contents(raw, tmp_path / "found")
    firmware = {name: found[name] for name in found if name.startswith("lib/firmware/")}
    assert firmware == {
        "lib/firmware/x/plain.fw": b"plain",
        "lib/firmware/x/packed.fw": b"packed",
    }
