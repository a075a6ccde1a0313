"""A tree of unknown origin cannot lead the build out of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bootserve.build.tree import Tree
from bootserve.errors import InvalidInput


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("theirs")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    root = tmp_path / "root"
    root.mkdir()
    return Tree(root)


@pytest.mark.parametrize("link", ["{outside}", "../outside", "../../../../../../{outside}"])
def test_a_link_that_leads_out_is_followed_inside(link: str, tree: Tree, outside: Path) -> None:
    (tree.root / "etc").symlink_to(link.format(outside=outside))
    tree.write("etc/file", "ours")
    assert (outside / "file").read_text() == "theirs"
    assert tree.target("etc/file").read_text() == "ours"
    assert tree.target("etc/file").is_relative_to(tree.root)
    tree.remove("etc/*")
    assert (outside / "file").exists()
    assert not tree.target("etc/file").exists()


def test_a_link_in_the_last_place_is_replaced(tree: Tree, outside: Path) -> None:
    (tree.root / "shadow").symlink_to(outside / "file")
    tree.write("shadow", "ours")
    assert (outside / "file").read_text() == "theirs"
    assert not (tree.root / "shadow").is_symlink()


def test_links_in_a_circle_are_refused(tree: Tree) -> None:
    (tree.root / "a").symlink_to("b")
    (tree.root / "b").symlink_to("a")
    with pytest.raises(InvalidInput, match="too many symbolic links"):
        tree.target("a/file")


def test_files_are_added_with_modes_owner_and_date(tree: Tree, tmp_path: Path) -> None:
    source = tmp_path / "files"
    (source / "etc").mkdir(parents=True)
    for name, mode in (("plain", 0o664), ("tool", 0o775), ("key", 0o600)):
        (source / "etc" / name).write_text(name)
        (source / "etc" / name).chmod(mode)
    (source / "etc/link").symlink_to("plain")
    tree.add(source, {"etc/key": "0440"}, 1_000_000)
    found = {path.name: path.lstat() for path in (tree.root / "etc").iterdir()}
    modes = {name: stat.S_IMODE(status.st_mode) for name, status in found.items()}
    assert modes == {"plain": 0o644, "tool": 0o755, "key": 0o440, "link": 0o777}
    assert {status.st_mtime for status in found.values()} == {1_000_000}
    assert {(status.st_uid, status.st_gid) for status in found.values()} == {(0, 0)}
    assert os.readlink(tree.root / "etc/link") == "plain"


def test_files_go_through_a_link_to_a_directory(tree: Tree, tmp_path: Path) -> None:
    (tree.root / "usr/lib").mkdir(parents=True)
    (tree.root / "lib").symlink_to("usr/lib")
    (tmp_path / "files/lib/x").mkdir(parents=True)
    (tmp_path / "files/lib/x/y").write_text("y")
    tree.add(tmp_path / "files", {}, 0)
    assert (tree.root / "usr/lib/x/y").read_text() == "y"
    assert (tree.root / "lib").is_symlink()


def test_a_file_does_not_take_the_place_of_a_directory(tree: Tree, tmp_path: Path) -> None:
    (tree.root / "etc").mkdir()
    (tmp_path / "files").mkdir()
    (tmp_path / "files/etc").write_text("x")
    with pytest.raises(InvalidInput, match="is a directory"):
        tree.add(tmp_path / "files", {}, 0)


def test_no_time_is_later_than_the_epoch(tree: Tree) -> None:
    tree.write("usr/old", "x")
    tree.write("usr/new", "x")
    os.utime(tree.root / "usr/old", (500, 500))
    tree.date(1000)
    times = {path.name: path.stat().st_mtime for path in tree.root.rglob("*")}
    assert times == {"usr": 1000, "old": 500, "new": 1000}
