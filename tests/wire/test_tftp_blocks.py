"""Files cut into DATA packets, made on demand and laid out beforehand: the same packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.wire.tftp_blocks import Blocks, ReadyBlocks
from bootserve.wire.tftp_packets import Data


@given(st.binary(max_size=200), st.integers(8, 60))
def test_the_packets_are_the_files_blocks_in_order(content: bytes, blksize: int) -> None:
    blocks = Blocks(content, blksize)
    packets = blocks.packets(1, blocks.count)
    cut = [content[i : i + blksize] for i in range(0, len(content) + 1, blksize)]
    assert packets == [Data(i + 1, payload).to_bytes() for i, payload in enumerate(cut)]
    assert len(cut[-1]) < blksize


@given(st.binary(max_size=200), st.integers(8, 60), st.data())
def test_ready_packets_are_the_same_as_those_made_on_demand(
    content: bytes, blksize: int, data: st.DataObject
) -> None:
    made, ready = Blocks(content, blksize), ReadyBlocks(content, blksize)
    first = data.draw(st.integers(1, made.count))
    last = data.draw(st.integers(first, made.count))
    assert ready.count == made.count
    assert list(ready.packets(first, last)) == list(made.packets(first, last))


@pytest.mark.parametrize("kind", [Blocks, ReadyBlocks])
def test_the_number_wraps_to_0(kind: type[Blocks]) -> None:
    blocks = kind(bytes(8 * 65537), 8)
    headers = [bytes(packet[:4]) for packet in blocks.packets(65535, 65538)]
    assert headers == [b"\0\3\xff\xff", b"\0\3\0\0", b"\0\3\0\1", b"\0\3\0\2"]


def test_the_size_of_the_buffer_is_told() -> None:
    assert ReadyBlocks(bytes(100), 10).size == 100 + 4 * 11
