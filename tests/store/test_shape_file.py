from __future__ import annotations

from pathlib import Path

import pytest

from bootserve.errors import IntegrityError, StorageFull, Unavailable
from bootserve.model.shape import LearnedShape
from bootserve.store.shape_file import load_shapes, save_shapes

LEARNED = [
    LearnedShape("52:54:00:00:00:01", "binl", 5.25),
    LearnedShape("52:54:00:00:00:02", "pxe10", 7.0),
]
BUS_IDS = {"52:54:00:00:00:03": "01808610fb"}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "shapes.json"
    assert load_shapes(path) == ([], {})
    save_shapes(path, reversed(LEARNED), BUS_IDS)
    assert load_shapes(path) == (LEARNED, BUS_IDS)
    save_shapes(path, [], {})
    assert load_shapes(path) == ([], {})


def test_a_file_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shapes.json"
    save_shapes(path, LEARNED, BUS_IDS)
    data = path.read_bytes()
    for bad in (data[:-1], data[:5], b"", data.replace(b"binl", b"oval")):
        path.write_bytes(bad)
        with pytest.raises(IntegrityError, match="damaged"):
            load_shapes(path)


def test_without_room_the_last_one_stays(tiny_disk: Path) -> None:
    path = tiny_disk / "shapes.json"
    save_shapes(path, LEARNED, BUS_IDS)
    many = [LearnedShape(f"{n:012x}", "binl", 1.0) for n in range(100_000)]
    with pytest.raises(StorageFull, match="saving the learned shapes"):
        save_shapes(path, many, BUS_IDS)
    assert load_shapes(path) == (LEARNED, BUS_IDS)


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="reading the learned shapes"):
        load_shapes(tmp_path)
