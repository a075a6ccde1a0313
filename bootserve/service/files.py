"""What is read from disk at start: templates and NBPs."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path

from bootserve import resources
from bootserve.core.quirks import Quirk, QuirkTable, parse_quirks
from bootserve.core.scripts import TEMPLATES, ScriptRenderer
from bootserve.errors import InvalidInput, NotFound
from bootserve.settings import Settings
from bootserve.wire.pxe import ClientArch

__all__ = ["load_quirks", "load_scripts", "nbp_files", "nbps_by_arch"]

SUFFIX = ".ipxe.j2"


def load_scripts(override: Path | None) -> ScriptRenderer:
    """Return the renderer of the shipped templates, with those in ``override`` in their place.

    Raises InvalidInput for a template that does not render, with its name and line, and for a
    file in ``override`` that replaces nothing.
    """
    shipped = resources.templates()
    sources = {name: (shipped / (name + SUFFIX)).read_text() for name in TEMPLATES}
    if override is not None:
        for path in _templates_in(override):
            name = path.name.removesuffix(SUFFIX)
            if name not in sources:
                raise InvalidInput(
                    f"{path} replaces no template", hint=f"There are: {', '.join(TEMPLATES)}."
                )
            sources[name] = _read(path)
    return ScriptRenderer(sources)


def load_quirks(settings: Settings, nbps: Container[str]) -> QuirkTable:
    """Return the table of quirks: those in ``quirks_file``, then the shipped ones.

    A shipped entry's NBP that is not among ``nbps`` is left out of it. Raises InvalidInput, with
    the line, for a file that is no such table or names an NBP that is not there.
    """
    own: list[Quirk] = []
    if path := settings.quirks_file:
        own += parse_quirks(_read(path), str(path))
    for quirk in own:
        if quirk.nbp and quirk.nbp not in nbps:
            raise InvalidInput(
                f"{path}: quirk {quirk.name} names {quirk.nbp}, which is not in {settings.nbp_dir}"
            )
    shipped = [
        quirk if quirk.nbp in nbps else replace(quirk, nbp="")
        for quirk in parse_quirks(_read(resources.quirks()), "the shipped quirks")
    ]
    return QuirkTable([*own, *shipped], settings.uefi_shape)


def _templates_in(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise InvalidInput(f"templates_dir {directory} is not a directory")
    return sorted(directory.glob(f"*{SUFFIX}"))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read {path}: {error}") from None


def nbp_files(settings: Settings) -> Mapping[str, Path]:
    """Return every NBP that can be served, by file name.

    These are the files of ``nbp_dir`` that end as iPXE's do; a name is looked up here and never
    opened as a path. Raises NotFound when there is none.
    """
    found = {
        path.name: path
        for path in sorted(settings.nbp_dir.glob("*"))
        if path.suffix in (".efi", ".kpxe", ".kkpxe", ".pxe") and path.is_file()
    }
    if not found:
        raise NotFound(
            f"there is no NBP in {settings.nbp_dir}",
            hint="Install Debian's package ipxe, or point nbp_dir at your iPXE builds.",
        )
    return found


def nbps_by_arch(settings: Settings, files: Mapping[str, Path]) -> dict[ClientArch, str]:
    """Return the NBP's file name for each client architecture that one is there for."""
    wanted = {
        ClientArch.BIOS: settings.nbp_bios,
        ClientArch.EFI_X64: settings.nbp_x64,
        ClientArch.EFI_ARM64: settings.nbp_arm64,
    }
    return {arch: name for arch, name in wanted.items() if name in files}
