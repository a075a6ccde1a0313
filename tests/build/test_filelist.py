"""The list of a tree's files: whole, in order, the same again, and bounded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from bootserve.build.bundle import Bundle
from bootserve.build.filelist import write_file_list
from bootserve.model.filelist import Cut, FileEntry, read_file_list


def a_tree(root: Path) -> Path:
    (root / "etc/a b").mkdir(parents=True)
    (root / "etc/a b/ü\n").write_text("odd")
    (root / "etc/empty").touch(0o640)
    (root / "bin").symlink_to("usr/bin")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"\xff")).write_bytes(b"x" * 3000)
    (root / "etc/set").write_text("s")
    (root / "etc/set").chmod(0o4755)
    return root


def listed(file: Path) -> list[FileEntry | Cut]:
    with file.open() as lines:
        return list(read_file_list(lines))


def test_everything_is_listed_in_order(tmp_path: Path) -> None:
    tree, out = a_tree(tmp_path / "tree"), tmp_path / "files"
    write_file_list(tree, out)
    found = [one for one in listed(out) if isinstance(one, FileEntry)]
    names = [b"bin", b"etc", b"etc/a b", "etc/a b/ü\n".encode(), b"etc/empty", b"etc/set", b"pipe"]
    assert [one.path for one in found] == [*names, b"\xff"]
    by_name = {one.path: one for one in found}
    assert by_name[b"bin"].content == b"usr/bin"
    assert by_name[b"pipe"].kind == "o"
    assert by_name[b"etc/set"].mode == 0o4755
    big = by_name[b"\xff"]
    assert (big.size, big.content.decode()) == (3000, hashlib.sha256(b"x" * 3000).hexdigest())


def test_the_same_tree_gives_the_same_list(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_file_list(a_tree(tmp_path / name / "tree"), tmp_path / name / "files")
    assert (tmp_path / "one/files").read_bytes() == (tmp_path / "two/files").read_bytes()


def test_a_list_is_bounded_and_says_what_it_lacks(tmp_path: Path) -> None:
    tree, out = a_tree(tmp_path / "tree"), tmp_path / "files"
    write_file_list(tree, out)
    whole = listed(out)
    for limit in range(100, out.stat().st_size, 37):
        write_file_list(tree, out, limit=limit)
        assert out.stat().st_size <= limit
        *some, cut = listed(out)
        assert isinstance(cut, Cut)
        assert some == whole[: len(some)]
        assert len(some) + cut.count == len(whole)


def test_a_build_lists_its_root(demo_bundle: Bundle) -> None:
    entries = {
        one.path: one for one in listed(demo_bundle.artifact("files")) if isinstance(one, FileEntry)
    }
    assert len(entries) > 1000
    assert entries[b"etc/machine-id"].size == 0
    assert entries[b"usr/bin/busybox"].kind == "f"
    assert (entries[b"usr/bin/busybox"].uid, entries[b"etc/shadow"].mode) == (0, 0o640)
