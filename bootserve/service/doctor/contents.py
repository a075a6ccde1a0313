"""What a server serves from: the database, the artifacts, and the NBPs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bootserve.core.nbp_facts import inspect_nbp
from bootserve.errors import BootserveError, InvalidInput, NotFound
from bootserve.model.finding import Finding
from bootserve.model.names import Arch
from bootserve.service.doctor.checkup import Checkup, error, ok, warning
from bootserve.service.doctor.state import DATABASE, SNAPSHOT
from bootserve.service.files import load_quirks, load_scripts, nbp_files
from bootserve.store.artifacts import DirectoryStore
from bootserve.store.database_check import look_at_database
from bootserve.store.snapshot_file import SavedState, load_state
from bootserve.wire.pxe import ClientArch

__all__ = ["check_artifacts", "check_database", "check_nbps", "check_own_files"]

SAMPLE_BYTES = 256 << 20
AGAIN = "Import the generation again: the import replaces what is damaged or gone."


def check_database(checkup: Checkup) -> Iterator[Finding]:
    """Look whether the database opens, is sound, and has a schema that is known here."""
    path = checkup.state_dir / DATABASE
    if not path.exists():
        if checkup.server.runs:
            found = f"the running server's database {path} is gone"
            yield error("database", found, "Restore it from a backup, then restart the server.")
        else:
            yield ok("database", f"there is no {path} yet; serve makes it")
        return
    state = look_at_database(path)
    if state.problems:
        found = f"{path} is damaged: {'; '.join(state.problems)}"
        action = "Restore it from a backup; nodes boot from the snapshot meanwhile."
        yield error("database", found, action)
    elif not state.schema:
        yield warning("database", f"{path} is empty", "Start the server, which fills it.")
    elif not state.is_known:
        found = f"{path} has schema {state.schema}, which this bootserve does not know"
        yield error("database", found, "Use the version that wrote it, or a later one.")
    elif state.schema != state.newest:
        found = f"{path} has schema {state.schema}; the next start brings it to {state.newest}"
        yield ok("database", found)
    else:
        yield ok("database", f"{path} is sound, schema {state.schema}")


def _saved(checkup: Checkup) -> SavedState | None:
    try:
        return load_state(checkup.state_dir / SNAPSHOT)
    except BootserveError:
        return None  # what is wrong with it is a finding of its own


def check_artifacts(checkup: Checkup) -> Iterator[Finding]:
    """Look whether what is pinned is there and whole, and by sample whether bytes are right."""
    root = checkup.state_dir / "artifacts"
    if not root.is_dir():
        return
    store = DirectoryStore(root)
    bad = store.quarantined()
    if bad:
        found = f"{len(bad)} are in quarantine: {', '.join(one[:12] + '…' for one in bad[:3])}"
        yield error("artifacts", found, AGAIN)
    wanted = _wanted(_saved(checkup))
    problems = []
    for digest, (name, size) in wanted.items():
        path = store.path(digest)
        if path is None and digest not in bad:
            problems.append(error("artifacts", f"{name} ({digest[:12]}…) is not there", AGAIN))
        elif path and path.stat().st_size != size:
            found = f"{name} has {path.stat().st_size} bytes where {size} were imported"
            problems.append(error("artifacts", found, f"Run 'bootserve scrub'. {AGAIN}"))
    yield from problems
    yield from _sampled(checkup, store, wanted)


def _wanted(saved: SavedState | None) -> dict[str, tuple[str, int]]:
    """Return what is pinned by digest, each with a name for it and its size in bytes."""
    found: dict[str, tuple[str, int]] = {}
    if saved is None:
        return found
    for pin in saved.state.pins.values():
        generation = saved.generations.get(pin.generation)
        known = generation is not None and not generation.damaged
        for name, artifact in generation.manifest.artifacts.items() if generation and known else ():
            found[artifact.sha256] = (f"{name} of {pin.generation}", artifact.size)
    for nbp_pin in saved.state.nbp_pins.values():
        nbp = saved.nbps.get(nbp_pin.nbp)
        if nbp:
            found[nbp.digest] = (f"NBP {nbp.name}", nbp.size)
    return found


def _sampled(
    checkup: Checkup, store: DirectoryStore, wanted: Mapping[str, tuple[str, int]]
) -> Iterator[Finding]:
    """Verify artifacts, those of pinned generations first, until enough bytes are read."""
    everyone = store.list()
    order = [*(one for one in wanted if one in set(everyone)), *sorted(set(everyone) - set(wanted))]
    chosen = order if checkup.full else list(_within(order, store))
    damaged = [one for one in chosen if not store.verify(one)]
    for digest in damaged:
        name = wanted[digest][0] if digest in wanted else "an artifact"
        found = f"{name} ({digest[:12]}…) is damaged: its bytes have another sha256"
        yield error("artifacts", found, f"Run 'bootserve scrub'. {AGAIN}")
    if not damaged:
        text = f"{len(everyone)} are there, {len(chosen)} were read and are right"
        more = "" if len(chosen) == len(everyone) else "; --full reads all"
        yield ok("artifacts", text + more)


def _within(order: Sequence[str], store: DirectoryStore) -> Iterator[str]:
    left = SAMPLE_BYTES
    for digest in order:
        size = store.size(digest)
        if size <= left:
            left -= size
            yield digest


def check_nbps(checkup: Checkup) -> Iterator[Finding]:
    """Look which NBPs there are, for what machines, and what their iPXE can do."""
    try:
        files = nbp_files(checkup.settings)
    except NotFound as missing:
        yield error("NBP", str(missing), missing.hint)
        return
    needed = _node_architectures(_saved(checkup))
    settings = checkup.settings
    for arch, name, of_nodes in (
        (ClientArch.BIOS, settings.nbp_bios, Arch.AMD64),
        (ClientArch.EFI_X64, settings.nbp_x64, Arch.AMD64),
        (ClientArch.EFI_ARM64, settings.nbp_arm64, Arch.ARM64),
    ):
        path = files.get(name)
        yield (
            _nbp(arch, path) if path else _no_nbp(arch, settings.nbp_dir / name, of_nodes in needed)
        )


def check_own_files(checkup: Checkup) -> Iterator[Finding]:
    """Look whether the admin's templates and quirks, if there are any, can be used."""
    settings = checkup.settings
    if settings.templates_dir is not None:
        try:
            load_scripts(settings.templates_dir)
            yield ok("templates", f"those in {settings.templates_dir} render")
        except InvalidInput as bad:
            yield error(
                "templates", str(bad), bad.hint or "Correct it: no start or reload takes it."
            )
    if settings.quirks_file is not None:
        try:
            load_quirks(settings, nbp_files(settings))
            yield ok("quirks", f"{settings.quirks_file} can be used")
        except (InvalidInput, NotFound) as bad:
            yield error("quirks", str(bad), bad.hint or "Correct it: no start or reload takes it.")


def _node_architectures(saved: SavedState | None) -> set[Arch]:
    nodes = saved.state.nodes.values() if saved else ()
    return {node.arch for node in nodes} or {Arch.AMD64}


def _no_nbp(arch: ClientArch, path: Path, is_needed: bool) -> Finding:
    found = f"there is no {path}: {arch} machines get no boot program"
    if is_needed:
        action = "Put an iPXE for them there, or name another (--nbp-bios, --nbp-x64, --nbp-arm64)."
        return error("NBP", found, action)
    return ok("NBP", f"{found}, and no node is of that kind")


def _nbp(arch: ClientArch, path: Path) -> Finding:
    try:
        data = path.read_bytes()
    except OSError as failed:
        return error(
            "NBP", f"{path} cannot be read: {failed.strerror}", "Check its owner and mode."
        )
    facts = inspect_nbp(data)
    text = f"{path.name} ({hashlib.sha256(data).hexdigest()[:12]}…): {facts}"
    if facts.arch is not arch:
        action = f"Put a program for {arch} machines there."
        return error("NBP", f"{text}; it is set for {arch} machines", action)
    if facts.features and not facts.features.http:
        return error("NBP", f"{text}: it cannot fetch scripts", "Use an iPXE built with HTTP.")
    if not facts.is_ipxe:
        action = "See that it fetches a script of bootserve's; an iPXE does."
        return warning("NBP", text, action)
    return ok("NBP", text)
