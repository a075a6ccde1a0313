"""``image import``: a bundle, or files that are made one, to the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bootserve.build.bundle import read_bundle
from bootserve.build.image import default_cache_dir
from bootserve.build.imported import About, import_files, import_tarball
from bootserve.cli import complete
from bootserve.cli.meters import build_meter
from bootserve.cli.sending import scratch_folder, send
from bootserve.cli.session import Session
from bootserve.model.names import Arch

__all__ = ["EXAMPLES", "import_image"]

EXAMPLES = (
    "bootserve image import debian-base.bundle",
    "bootserve image import --name k8s-node --kernel vmlinuz --initrd initrd.img --root root.sqfs",
    "bootserve image import --name k8s-node --root-tar root.tar --cmdline console=ttyS0",
)
FILES = "Files in place of a bundle"


def _file(flag: str, help: str) -> Any:
    return typer.Option(flag, metavar="FILE", help=help, rich_help_panel=FILES)


BundleArg = Annotated[
    Path | None, typer.Argument(metavar="BUNDLE", help="A directory that 'image build' wrote.")
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="IMAGE",
        help="The image that the files are a generation of.",
        rich_help_panel=FILES,
        autocompletion=complete.images,
    ),
]
ArchOption = Annotated[
    Arch, typer.Option("--arch", help="The architecture.", rich_help_panel=FILES)
]
CmdlineOption = Annotated[
    str,
    typer.Option(
        "--cmdline",
        metavar="TEXT",
        help="The image's part of the kernel command line.",
        rich_help_panel=FILES,
    ),
]
WritableOption = Annotated[
    list[str] | None,
    typer.Option(
        "--writable",
        metavar="PATH",
        help="A path whose changes on a running node are expected; repeat it.",
        rich_help_panel=FILES,
    ),
]
MemoryOption = Annotated[
    int,
    typer.Option(
        "--min-memory-mib",
        min=0,
        help="The memory a node needs, in MiB; with less it says so and does not boot.",
        rich_help_panel=FILES,
    ),
]
OverlayOption = Annotated[
    str,
    typer.Option(
        "--overlay-size",
        metavar="SIZE",
        help="What may be written over the root, in memory: 50%, 512m.",
        rich_help_panel=FILES,
    ),
]
ReleaseOption = Annotated[
    str,
    typer.Option(
        "--kernel-release",
        metavar="RELEASE",
        help="Which kernel of the tar archive, when it has several: 6.1.0-18-amd64.",
        rich_help_panel=FILES,
    ),
]


def import_image(
    session: Session,
    bundle: BundleArg = None,
    *,
    name: NameOption = None,
    kernel: Annotated[Path | None, _file("--kernel", "The kernel.")] = None,
    initrd: Annotated[Path | None, _file("--initrd", "The initramfs.")] = None,
    root: Annotated[Path | None, _file("--root", "The root, as squashfs or erofs.")] = None,
    root_tar: Annotated[
        Path | None,
        _file("--root-tar", "The root as a tar archive, with a kernel and its modules."),
    ] = None,
    arch: ArchOption = Arch.AMD64,
    cmdline: CmdlineOption = "",
    writable: WritableOption = None,
    min_memory_mib: MemoryOption = 0,
    overlay_size: OverlayOption = "50%",
    kernel_release: ReleaseOption = "",
) -> None:
    """Import a bundle, or files, as the next generation of an image.

    What has a digest that is known already is the generation that has it. An upload that broke off
    is gone on with when the command is run again within a day.
    """
    given = {"kernel": kernel, "initrd": initrd, "root": root}
    _check_choice(bundle, name, given, root_tar)
    if bundle is not None:
        send(session, read_bundle(bundle))
        return
    about: About = {
        "arch": arch,
        "cmdline": cmdline,
        "kernel_release": kernel_release,
        "overlay_size": overlay_size,
        "min_memory_mib": min_memory_mib,
        "writable": tuple(writable or ()),
    }
    files = {part: path for part, path in given.items() if path is not None}
    with scratch_folder(default_cache_dir()) as folder:
        _make_bundle(session, folder / "bundle", str(name), files, root_tar, about)
        send(session, read_bundle(folder / "bundle"))


def _make_bundle(
    session: Session,
    output: Path,
    name: str,
    files: dict[str, Path],
    root_tar: Path | None,
    about: About,
) -> None:
    with build_meter(session.out) as tell:
        if root_tar is not None:
            import_tarball(name, tarball=root_tar, output=output, progress=tell, **about)
            return
        import_files(
            name,
            kernel=files["kernel"],
            initrd=files["initrd"],
            root=files["root"],
            output=output,
            progress=tell,
            **about,
        )


def _check_choice(
    bundle: Path | None, name: str | None, files: dict[str, Path | None], root_tar: Path | None
) -> None:
    given = [f"--{part}" for part, path in files.items() if path is not None]
    if bundle is not None:
        if given or root_tar or name:
            raise typer.BadParameter("give a bundle or files, not both", param_hint="BUNDLE")
    elif not name:
        raise typer.BadParameter("give a bundle, or --name and files", param_hint="BUNDLE")
    elif root_tar is not None:
        if given:
            raise typer.BadParameter(
                f"it stands for {', '.join(given)}: give one or the other", param_hint="--root-tar"
            )
    elif len(given) < len(files):
        missing = [f"--{part}" for part, path in files.items() if path is None]
        raise typer.BadParameter(f"{', '.join(missing)} must be given too", param_hint="--name")
