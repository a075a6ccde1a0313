"""What differs between two generations."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.image_diff import (
    PackageChange,
    compare_versions,
    diff_files,
    diff_manifests,
)
from bootserve.model.filelist import Cut, FileEntry
from tests.support.states import manifest

VERSIONS = [
    *("1.0", "1.0-1", "1.0-1+b1", "1.0~rc1-1", "1.0~~-1", "1:0.9-1", "0:1.0-1", "1.0+dfsg-2"),
    *("1.0a-1", "1.0.1-1", "1.00-1", "10.0-1", "9.0-1", "1.0-1~deb12u1", "1.0-10", "252.39-1~"),
    *("2.36-9+deb12u10", "2.36-9+deb12u9", "1.2.3-4-5", "1.0A", "1.0z"),
]


def test_versions_are_compared_as_dpkg_does() -> None:
    pairs = [
        pair for place, one in enumerate(VERSIONS) for pair in ((one, v) for v in VERSIONS[place:])
    ]
    script = "while read a b; do dpkg --compare-versions $a lt $b && echo lt || echo ge; done"
    text = "".join(f"{one} {other}\n" for one, other in pairs)
    said = subprocess.run(
        ["sh", "-c", script], input=text, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    ours = ["lt" if compare_versions(one, other) < 0 else "ge" for one, other in pairs]
    wrong = [pair for pair, mine, its in zip(pairs, ours, said, strict=True) if mine != its]
    assert not wrong


def test_manifests() -> None:
    before = manifest(
        "web",
        "1",
        packages={"a": "1", "b": "2", "c": "3", "d": "1.0-1"},
        cmdline="quiet",
        kernel_release="6.1.0-1",
        writable=("/var",),
    )
    after = manifest(
        "web",
        "2",
        packages={"a": "1", "b": "10", "d": "1.0~rc1-1", "e": "5"},
        kernel_release="6.1.0-2",
        writable=("/var", "/srv"),
    )
    found = diff_manifests(before, after)
    assert found.fields == {
        "cmdline": ("quiet", ""),
        "kernel_release": ("6.1.0-1", "6.1.0-2"),
        "writable": ("/var", "/var, /srv"),
    }
    assert [(one.name, one.kind) for one in found.packages] == [
        ("b", "upgraded"),
        ("c", "removed"),
        ("d", "downgraded"),
        ("e", "added"),
    ]
    assert found.packages[3] == PackageChange("e", "", "5")
    assert found.artifacts == ["kernel", "initrd", "root"]
    unlisted = diff_manifests(before, manifest("web", "3"))
    assert not unlisted.packages_known
    assert unlisted.packages == []
    assert diff_manifests(before, before).fields == {}


def entry(name: str, content: str = "a", mode: int = 0o644, kind: str = "f") -> FileEntry:
    return FileEntry(name.encode(), kind, mode, 0, 0, len(content), content.encode())


FILES = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.tuples(st.sampled_from(["x", "y"]), st.sampled_from([0o644, 0o755])),
).map(lambda made: [entry(name, *what) for name, what in sorted(made.items())])


@given(FILES, FILES, st.integers(0, 4))
def test_files(before: list[FileEntry], after: list[FileEntry], limit: int) -> None:
    found = diff_files(before, after, limit=limit)
    old, new = ({one.path.decode(): one for one in side} for side in (before, after))
    added = [f"/{name}" for name in sorted(new.keys() - old.keys())]
    removed = [f"/{name}" for name in sorted(old.keys() - new.keys())]
    changed = [f"/{name}" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    assert (found.added, found.added_count) == (added[:limit], len(added))
    assert (found.removed, found.removed_count) == (removed[:limit], len(removed))
    assert [path for path, _ in found.changed] == changed[:limit]
    assert found.changed_count == len(changed)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (entry("a", "x"), entry("a", "y"), "content"),
        (entry("a", "x", kind="l"), entry("a", "y", kind="l"), "target"),
        (entry("a", kind="l"), entry("a", kind="d"), "kind"),
        (entry("a"), entry("a", mode=0o4755), "mode 0644 → 4755"),
        (entry("a"), FileEntry(b"a", "f", 0o644, 5, 6, 1, b"a"), "owner 0:0 → 5:6"),
    ],
)
def test_what_of_a_file_changed(before: FileEntry, after: FileEntry, words: str) -> None:
    assert diff_files([before], [after]).changed == [("/a", words)]


def test_nothing_is_said_of_what_a_list_lacks() -> None:
    whole = [entry(name) for name in "abcd"]
    found = diff_files([entry("a"), Cut(3)], [entry("b"), *whole[2:]])
    assert (found.removed, found.added, found.cut) == (["/a"], [], 3)
    assert diff_files(whole, [entry("a"), Cut(3)]).removed_count == 0
