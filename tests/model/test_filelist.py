"""Lists of files: any name and target survives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.errors import InvalidInput
from bootserve.model.filelist import HEADER, Cut, FileEntry, read_file_list

NAMES = st.binary(min_size=1, max_size=12)
ENTRIES = st.builds(
    FileEntry,
    path=NAMES,
    kind=st.sampled_from("fdlo"),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 1 << 31),
    gid=st.integers(0, 1 << 31),
    size=st.integers(0, 1 << 40),
    content=st.one_of(st.just(b""), st.just(b"-"), NAMES),
)


@given(st.lists(ENTRIES), st.integers(0, 9))
def test_what_is_written_reads_back(entries: list[FileEntry], cut: int) -> None:
    lines = [HEADER, *(one.line() for one in entries), *([f"cut {cut}"] if cut else [])]
    assert all("\n" not in line and line.isascii() for line in lines)
    found = list(read_file_list(f"{line}\n" for line in lines))
    assert found == [*entries, *([Cut(cut)] if cut else [])]


@pytest.mark.parametrize(
    "lines", [[], ["bootserve-files 2"], [HEADER, "f 0644 0 0"], [HEADER, "f x 0 0 0 - a"]]
)
def test_what_is_no_list_is_refused(lines: list[str]) -> None:
    with pytest.raises(InvalidInput):
        list(read_file_list(lines))
