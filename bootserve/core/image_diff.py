"""What differs between two generations: packages, kernel, command line, files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest

from bootserve.model.filelist import Cut, FileEntry
from bootserve.model.generation import Manifest

__all__ = [
    "FilesDiff",
    "ImageDiff",
    "PackageChange",
    "compare_versions",
    "diff_files",
    "diff_manifests",
]

_FIELDS = (
    "arch",
    "cmdline",
    "kernel_release",
    "root_format",
    "overlay_size",
    "min_memory_mib",
    "writable",
    "definition",
)


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package and its versions; empty where it is not."""

    name: str
    before: str
    after: str

    @property
    def kind(self) -> str:
        """``added``, ``removed``, ``upgraded`` or ``downgraded``."""
        if not self.before:
            return "added"
        if not self.after:
            return "removed"
        return "upgraded" if compare_versions(self.before, self.after) < 0 else "downgraded"


@dataclass(frozen=True, slots=True)
class ImageDiff:
    """What differs in two manifests.

    ``fields`` are those that differ, by name, before and after; ``artifacts`` names the files that
    differ. ``packages_known`` is false when one of them lists no packages.
    """

    fields: Mapping[str, tuple[str, str]]
    packages: list[PackageChange]
    artifacts: list[str]
    packages_known: bool


@dataclass(slots=True)
class FilesDiff:
    """Which files differ: paths as text, changed ones with what of them.

    The lists hold ``limit`` paths each at most, the counts all. ``cut`` is how many files the lists
    that were compared leave out.
    """

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    added_count: int = 0
    removed_count: int = 0
    changed_count: int = 0
    cut: int = 0


def diff_manifests(before: Manifest, after: Manifest) -> ImageDiff:
    """Return what differs between the two manifests."""
    fields = {
        name: (_shown(getattr(before, name)), _shown(getattr(after, name)))
        for name in _FIELDS
        if getattr(before, name) != getattr(after, name)
    }
    names = sorted(before.packages.keys() | after.packages.keys())
    packages = [
        PackageChange(name, before.packages.get(name, ""), after.packages.get(name, ""))
        for name in names
        if before.packages.get(name) != after.packages.get(name)
    ]
    known = bool(before.packages) and bool(after.packages)
    artifacts = [
        name
        for name in ("kernel", "initrd", "root")
        if before.artifacts[name].sha256 != after.artifacts[name].sha256
    ]
    return ImageDiff(fields, packages if known else [], artifacts, known)


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def diff_files(
    before: Iterable[FileEntry | Cut], after: Iterable[FileEntry | Cut], *, limit: int = 1000
) -> FilesDiff:
    """Return what differs between two lists of files, each sorted by path.

    Where one list ends before its files do, nothing is said of what follows in the other.
    """
    found = FilesDiff()
    old, new = _Side(before), _Side(after)
    while old.entry is not None or new.entry is not None:
        if old.entry is not None and new.entry is not None and old.entry.path == new.entry.path:
            if old.entry != new.entry:
                found.changed_count += 1
                if len(found.changed) < limit:
                    found.changed.append((_path(old.entry), _difference(old.entry, new.entry)))
            old.step()
            new.step()
        elif new.entry is None or (old.entry is not None and old.entry.path < new.entry.path):
            if not new.cut:
                found.removed_count += 1
                found.removed += [_path(old.there)][: limit - len(found.removed)]
            old.step()
        else:
            if not old.cut:
                found.added_count += 1
                found.added += [_path(new.there)][: limit - len(found.added)]
            new.step()
    found.cut = max(old.cut, new.cut)
    return found


class _Side:
    """One of two lists that are gone through together."""

    def __init__(self, entries: Iterable[FileEntry | Cut]) -> None:
        self._entries = iter(entries)
        self.entry: FileEntry | None = None
        self.cut = 0
        self.step()

    @property
    def there(self) -> FileEntry:
        """The entry that it is at."""
        assert self.entry is not None
        return self.entry

    def step(self) -> None:
        """Go to the next entry; at the end there is none."""
        one = next(self._entries, None)
        if isinstance(one, Cut):
            self.cut, one = one.count, None
        self.entry = one


def _path(entry: FileEntry) -> str:
    return "/" + entry.path.decode("utf-8", "backslashreplace")


def _difference(old: FileEntry, new: FileEntry) -> str:
    parts = []
    if old.kind != new.kind:
        parts.append("kind")
    elif old.content != new.content:
        parts.append("target" if new.kind == "l" else "content")
    if old.mode != new.mode:
        parts.append(f"mode {old.mode:04o} → {new.mode:04o}")
    if (old.uid, old.gid) != (new.uid, new.gid):
        parts.append(f"owner {old.uid}:{old.gid} → {new.uid}:{new.gid}")
    return ", ".join(parts) or "size"


def compare_versions(one: str, other: str) -> int:
    """Return a number below, equal to or above 0 as Debian version ``one`` is to ``other``.

    By deb-version(7): epoch, upstream version and revision, each compared in turns of text, in
    which letters sort before all else and a tilde before the end, and of numbers.
    """
    first, second = _parts(one), _parts(other)
    if first[0] != second[0]:
        return first[0] - second[0]
    return _compare(first[1], second[1]) or _compare(first[2], second[2])


def _parts(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon or not epoch.isdigit():
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return (int(epoch), upstream, revision) if dash else (int(epoch), rest, "0")


def _compare(one: str, other: str) -> int:
    pairs = zip_longest(_turns(one), _turns(other), fillvalue=("", 0))
    for (text, number), (other_text, other_number) in pairs:
        found = _compare_text(text, other_text) or number - other_number
        if found:
            return found
    return 0


def _turns(text: str) -> Iterator[tuple[str, int]]:
    for match in re.finditer(r"(\D*)(\d*)", text):
        if match[0]:
            yield match[1], int(match[2] or 0)


def _compare_text(one: str, other: str) -> int:
    for first, second in zip_longest(one, other, fillvalue=""):
        if first != second:
            return _weight(first) - _weight(second)
    return 0


def _weight(character: str) -> int:
    if character == "~":
        return -1
    if not character:
        return 0
    return ord(character) if character.isalpha() else ord(character) + 256
