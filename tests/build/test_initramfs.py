"""The initramfs: what is taken from a kernel's modules, and what a root must have."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootserve.build.bundle import Bundle
from bootserve.build.initramfs import build_initramfs, find_kernel_release, select_modules
from bootserve.build.nodefiles import node_files
from bootserve.errors import InvalidInput


def tree_with(tmp_path: Path, *releases: str) -> Path:
    for release in releases:
        (tmp_path / "boot").mkdir(exist_ok=True)
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
