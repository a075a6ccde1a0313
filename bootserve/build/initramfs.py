"""Our own small initramfs: busybox, the node-side init and the kernel modules that it needs."""

from __future__ import annotations

import lzma
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from bootserve.build.cpio import CpioArchive
from bootserve.build.run import BuildFailed, build_environment, output_of
from bootserve.build.tree import Tree
from bootserve.errors import InvalidInput, Unavailable

__all__ = ["build_initramfs", "find_kernel_release", "select_modules"]

# What may carry the boot NIC, and what it stands on. A switch's own ports boot nothing and would
# bring tens of megabytes of firmware.
_DRIVERS = (
    "kernel/drivers/net/ethernet/",
    "kernel/drivers/net/phy/",
    "kernel/drivers/net/mdio/",
    "kernel/drivers/net/vmxnet3/",
    "kernel/drivers/net/hyperv/",
    "kernel/drivers/net/virtio_net.ko",
    "kernel/drivers/net/xen-netfront.ko",
    "kernel/drivers/virtio/virtio_pci.ko",
    "kernel/drivers/virtio/virtio_mmio.ko",
    "kernel/drivers/pci/controller/pci-hyperv.ko",
    "kernel/drivers/watchdog/softdog.ko",
    "kernel/drivers/block/loop.ko",
    "kernel/fs/squashfs/",
    "kernel/fs/erofs/",
    "kernel/fs/overlayfs/",
    "kernel/net/packet/af_packet.ko",
    "kernel/crypto/crc32c_generic.ko",
)
_LEFT_OUT = (
    "kernel/drivers/net/ethernet/mellanox/mlxsw/",
    "kernel/drivers/net/ethernet/marvell/prestera/",
)
_INDEXES = ("modules.alias", "modules.softdep", "modules.symbols")
_PT_INTERP = 3
_MICROCODE = {
    "kernel/x86/microcode/GenuineIntel.bin": "intel-ucode/*",
    "kernel/x86/microcode/AuthenticAMD.bin": "amd-ucode/microcode_amd*.bin",
}


def find_kernel_release(tree: Path, wanted: str = "") -> str:
    """Return the release of the one kernel in ``tree`` that has both image and modules.

    ``wanted`` chooses among several. Raises InvalidInput when there is none, or more than one.
    """
    boot = Tree(tree).target("boot")
    images = {path.name.removeprefix("vmlinuz-") for path in boot.glob("vmlinuz-*")}
    found = sorted(rel for rel in images if (_modules(tree, rel) / "modules.dep").is_file())
    if wanted in found:
        return wanted
    if wanted or not found:
        what = f"kernel {wanted}" if wanted else "kernel"
        raise InvalidInput(
            f"the root has no {what} with its modules",
            hint="It needs /boot/vmlinuz-RELEASE and /lib/modules/RELEASE/modules.dep.",
        )
    if len(found) > 1:
        raise InvalidInput(
            f"the root has several kernels: {', '.join(found)}", hint="Name the one to boot."
        )
    return found[0]


def build_initramfs(tree: Path, *, release: str, node: Path) -> bytes:
    """Return the initramfs for kernel ``release`` of ``tree``, compressed by zstd.

    Processor microcode that the tree has comes first, uncompressed, where the kernel looks for it.
    ``node`` is the folder of node-side files.

    Raises InvalidInput when the tree lacks busybox or a module, Unavailable when zstd is not
    installed.
    """
    archive = CpioArchive()
    for name in ("dev", "proc", "sys", "run", "newroot", "tmp", "etc"):
        archive.directory(name)
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3, mode=0o666)
    archive.file("bin/busybox", _busybox(tree), mode=0o755)
    archive.link("bin/sh", "busybox")
    # the kernel itself runs this when a driver asks for another module
    archive.link("sbin/modprobe", "../bin/busybox")
    for script in (*sorted((node / "initramfs").iterdir()), *_shared_scripts(node)):
        where = "init" if script.name == "init" else f"lib/bootserve/{script.name}"
        archive.file(where, script.read_bytes(), mode=0o755)
    _add_modules(archive, tree, release)
    return _early_cpio(tree) + _zstd(archive.to_bytes())


def select_modules(dependencies: dict[str, list[str]]) -> list[str]:
    """Return the paths of the modules to take, with all that they depend on, sorted.

    ``dependencies`` is what modules.dep says: each module's path and the paths it needs.
    """
    chosen: set[str] = set()
    for path, needed in dependencies.items():
        plain = re.sub(r"\.(xz|zst|gz)$", "", path)
        if plain.startswith(_DRIVERS) and not plain.startswith(_LEFT_OUT):
            chosen.update((path, *needed))
    return sorted(chosen)


def _shared_scripts(node: Path) -> list[Path]:
    return [node / "root/usr/lib/bootserve" / name for name in ("common", "post")]


def _modules(tree: Path, release: str) -> Path:
    return Tree(tree).target(f"lib/modules/{release}")


def _read_dependencies(folder: Path) -> dict[str, list[str]]:
    lines = (folder / "modules.dep").read_text().splitlines()
    pairs = (line.partition(":") for line in lines)
    return {path: needed.split() for path, _, needed in pairs}


def _add_modules(archive: CpioArchive, tree: Path, release: str) -> None:
    folder, target = _modules(tree, release), f"lib/modules/{release}"
    dependencies = _read_dependencies(folder)
    modules = select_modules(dependencies)
    for path in modules:
        file = Tree(tree).target(f"lib/modules/{release}/{path}")
        if not file.is_file():
            raise InvalidInput(
                f"the root lacks the module {path} of its kernel {release}",
                hint="Give a root with all that the kernel's package has in /lib/modules.",
            )
        archive.file(f"{target}/{_plain(path)}", _decompressed(file))
    lines = (f"{_plain(m)}: {' '.join(map(_plain, dependencies[m]))}".rstrip() for m in modules)
    archive.file(f"{target}/modules.dep", ("\n".join(lines) + "\n").encode())
    names = {_module_name(path) for path in modules}
    for index in _INDEXES:
        archive.file(f"{target}/{index}", _filtered(folder / index, names))
    if (folder / "modules.builtin").is_file():
        archive.file(f"{target}/modules.builtin", (folder / "modules.builtin").read_bytes())
    _add_firmware(archive, tree, [folder / path for path in modules])


def _add_firmware(archive: CpioArchive, tree: Path, modules: list[Path]) -> None:
    declared = output_of(["modinfo", "-F", "firmware", *modules])
    for name in sorted(set(declared.split())):
        for path in (f"lib/firmware/{name}", f"lib/firmware/{name}.xz"):
            if (file := Tree(tree).target(path)).is_file():
                archive.file(f"lib/firmware/{name}", _decompressed(file))
                break


def _plain(path: str) -> str:
    return re.sub(r"\.(xz|zst|gz)$", "", path)


def _module_name(path: str) -> str:
    return Path(_plain(path)).stem.replace("-", "_")


def _filtered(index: Path, names: set[str]) -> bytes:
    """Keep the lines of an index that speak of the modules taken; busybox reads it whole."""
    if not index.is_file():
        return b""
    first = 1 if index.name == "modules.softdep" else -1
    lines = (line for line in index.read_text().splitlines() if not line.startswith("#"))
    kept = [line for line in lines if line.split()[first].replace("-", "_") in names]
    return "".join(f"{line}\n" for line in kept).encode()


def _decompressed(file: Path) -> bytes:
    data = file.read_bytes()
    if file.suffix == ".xz":
        return lzma.decompress(data)
    if file.suffix == ".zst":
        return _filter(["zstd", "-dcq"], data)
    if file.suffix == ".gz":
        return _filter(["gzip", "-dc"], data)
    return data


def _busybox(tree: Path) -> bytes:
    for name in ("usr/bin/busybox", "bin/busybox", "usr/lib/initramfs-tools/bin/busybox"):
        path = Tree(tree).target(name)
        if path.is_file() and _is_static(data := path.read_bytes()):
            return data
    raise InvalidInput(
        "the root has no static busybox, which the initramfs is made of",
        hint="Install the package busybox-static in it.",
    )


def _is_static(elf: bytes) -> bool:
    """Whether a 64-bit little-endian ELF program names no interpreter (elf(5))."""
    if elf[:6] != b"\x7fELF\x02\x01":
        return False
    start = int.from_bytes(elf[32:40], "little")
    size, count = (int.from_bytes(elf[at : at + 2], "little") for at in (54, 56))
    headers = range(start, start + size * count, size)
    return all(int.from_bytes(elf[at : at + 4], "little") != _PT_INTERP for at in headers)


def _early_cpio(tree: Path) -> bytes:
    """Return the archive in which the kernel looks for microcode before anything else, or none."""
    archive, found = CpioArchive(), False
    for name, pattern in _MICROCODE.items():
        files: Iterable[Path] = sorted(Tree(tree).target("lib/firmware").glob(pattern))
        if content := b"".join(file.read_bytes() for file in files if file.is_file()):
            archive.file(name, content)
            found = True
    return archive.to_bytes() if found else b""


def _zstd(data: bytes) -> bytes:
    return _filter(["zstd", "-19", "-T1", "-cq"], data)


def _filter(argv: list[str], data: bytes) -> bytes:
    environment = build_environment()
    try:
        done = subprocess.run(argv, input=data, capture_output=True, env=environment, check=False)
    except FileNotFoundError:
        raise Unavailable(
            f"{argv[0]} is not installed", hint=f"Run: apt-get install {argv[0]}"
        ) from None
    if done.returncode:
        raise BuildFailed(f"{argv[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
