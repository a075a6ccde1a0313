"""``image diff``: what differs between two generations."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bootserve.cli.client import Problem
from bootserve.cli.options import GenerationArg
from bootserve.cli.output import Output
from bootserve.cli.session import Session
from bootserve.cli.showing import manifest_of
from bootserve.cli.transfer import save_artifact
from bootserve.core.image_diff import FilesDiff, ImageDiff, diff_files, diff_manifests
from bootserve.model.filelist import read_file_list
from bootserve.model.generation import Artifact, GenerationRef, Manifest
from bootserve.servers.admin.schemas_seen import GenerationOut

__all__ = ["EXAMPLES", "Difference", "diff", "difference", "show_difference"]

EXAMPLES = ("bootserve image diff k8s-node@40 k8s-node@41", "bootserve image diff web@1 web@2 -n 0")


class Difference:
    """What differs between generations ``before`` and ``after``.

    ``files`` is None when the files are not compared, for the reason ``why_no_files``.
    """

    def __init__(
        self,
        before: GenerationRef,
        after: GenerationRef,
        image: ImageDiff,
        files: FilesDiff | None,
        why_no_files: str,
    ) -> None:
        self.before = before
        self.after = after
        self.image = image
        self.files = files
        self.why_no_files = why_no_files

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "before": str(self.before),
            "after": str(self.after),
            "fields": {name: list(pair) for name, pair in self.image.fields.items()},
            "packages_known": self.image.packages_known,
            "packages": [{**asdict(one), "kind": one.kind} for one in self.image.packages],
            "artifacts": self.image.artifacts,
            "files": None if self.files is None else asdict(self.files),
            "why_no_files": self.why_no_files,
        }

    def summary(self) -> str:
        """Return it in one line."""
        parts = [f"{name} {a or '(none)'} → {b or '(none)'}" for name, (a, b) in self._told()]
        kinds = Counter(one.kind for one in self.image.packages)
        parts += [f"{_count(count, 'package')} {kind}" for kind, count in sorted(kinds.items())]
        if self.files is not None:
            counts = (
                (self.files.added_count, "added"),
                (self.files.changed_count, "changed"),
                (self.files.removed_count, "removed"),
            )
            parts += [f"{_count(count, 'file')} {what}" for count, what in counts if count]
        return "; ".join(parts) or "nothing that is listed"

    def _told(self) -> list[tuple[str, tuple[str, str]]]:
        return [(k, v) for k, v in self.image.fields.items() if k != "definition"]


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def diff(
    session: Session,
    before: GenerationArg,
    after: GenerationArg,
    *,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", min=0, max=100_000, help="How many files of each kind."),
    ] = 20,
) -> None:
    """Show what differs between two generations: packages, kernel, command line, files."""
    first, second = GenerationRef.parse(before), GenerationRef.parse(after)
    found = difference(session, first, second, limit=limit)
    if session.out.is_json:
        session.out.json(found.document())
    else:
        show_difference(session.out, found)


def difference(
    session: Session, before: GenerationRef, after: GenerationRef, *, limit: int = 20
) -> Difference:
    """Return what differs; raises Problem when there is no such generation, or no right to it."""
    shown = [
        session.call("GET", f"/generations/{ref}", GenerationOut).value for ref in (before, after)
    ]
    old, new = (manifest_of(one) for one in shown)
    unlisted = [
        str(one.name)
        for one, manifest in zip(shown, (old, new), strict=True)
        if "files" not in manifest.artifacts or one.removed_at is not None
    ]
    files, why = None, ""
    if unlisted:
        why = f"there is no list of those of {' and '.join(unlisted)}"
    else:
        try:
            files = _files(session, old, new, limit)
        except Problem as problem:
            why = str(problem)
    return Difference(before, after, diff_manifests(old, new), files, why)


def _files(session: Session, before: Manifest, after: Manifest, limit: int) -> FilesDiff:
    if before.artifacts["files"] == after.artifacts["files"]:
        return FilesDiff()
    with tempfile.TemporaryDirectory(prefix="bootserve-diff-") as made:
        paths = []
        for place, one in enumerate((before, after)):
            paths.append(Path(made) / str(place))
            _download(session, one.artifacts["files"], paths[-1])
        with paths[0].open() as old, paths[1].open() as new:
            return diff_files(read_file_list(old), read_file_list(new), limit=limit)


def _download(session: Session, artifact: Artifact, target: Path) -> None:
    session.run(lambda api: save_artifact(api, artifact, target))


def show_difference(out: Output, found: Difference) -> None:
    """Print what differs."""
    rows = [
        (name.replace("_", " ").capitalize(), f"{a or '(none)'} → {b or '(none)'}")
        for name, (a, b) in found.image.fields.items()
    ]
    if found.image.artifacts:
        rows.append(("Artifacts that differ", ", ".join(found.image.artifacts)))
    if not rows and not found.image.packages:
        out.line(f"{found.before} and {found.after} have the same packages and settings.")
    out.pairs(rows)
    if not found.image.packages_known:
        out.note("Packages are not compared: one of the two does not list them.")
    elif found.image.packages:
        out.line("")
        table = [[one.kind, one.name, one.before, one.after] for one in found.image.packages]
        out.table(["PACKAGES", "", str(found.before), str(found.after)], table)
    _show_files(out, found)


def _show_files(out: Output, found: Difference) -> None:
    files = found.files
    if files is None:
        out.note(f"Files are not compared: {found.why_no_files}.")
        return
    rows: list[list[str]] = [["added", path, ""] for path in files.added]
    rows += [["removed", path, ""] for path in files.removed]
    rows += [["changed", path, what] for path, what in files.changed]
    if rows:
        out.line("")
        out.table(["FILES", "", ""], rows)
    more = files.added_count + files.removed_count + files.changed_count - len(rows)
    if more:
        out.line(f"… and {more} more; --limit shows them")
    if files.cut:
        out.note(f"{files.cut} files are not compared: the list of such a large root is cut.")
