"""Ready packets are shared, and bounded in memory."""

from __future__ import annotations

import gc

import pytest

from bootserve.servers.tftp_layouts import Layouts
from bootserve.wire.tftp_blocks import ReadyBlocks
from bootserve.wire.tftp_options import Terms

NBP = bytes(200_000)


def test_transfers_of_a_file_share_its_packets() -> None:
    layouts = Layouts()
    ready = layouts.blocks(NBP, Terms(1468))
    assert isinstance(ready, ReadyBlocks)
    assert layouts.blocks(NBP, Terms(1468)) is ready
    assert layouts.blocks(NBP, Terms(1432)) is not ready
    assert layouts.blocks(NBP, Terms(1468, windowsize=4)) is not ready


@pytest.mark.parametrize(
    ("size", "blksize"), [(1000, 1468), (65535, 1468), (200_000, 511), (9 << 20, 1468)]
)
def test_what_is_not_worth_it_is_not_laid_out(size: int, blksize: int) -> None:
    layouts = Layouts()
    assert not isinstance(layouts.blocks(bytes(size), Terms(blksize)), ReadyBlocks)
    assert layouts.size == 0


def test_another_content_is_never_served_in_a_freed_ones_place() -> None:
    layouts = Layouts(capacity=1 << 20)
    for i in range(50):
        content = bytes([i]) * 100_000
        (packet,) = layouts.blocks(content, Terms(1024)).packets(1, 1)
        assert packet[4] == i
        del content


def test_the_oldest_give_way_and_are_freed() -> None:
    layouts = Layouts(capacity=1_000_000)
    for blksize in range(512, 612):
        layouts.blocks(NBP, Terms(blksize))
    gc.collect()
    assert 600_000 < layouts.size <= 1_000_000


def test_memory_is_bounded_while_transfers_hold_on_to_what_they_use() -> None:
    layouts = Layouts(capacity=1_000_000)
    held = [layouts.blocks(NBP, Terms(blksize)) for blksize in range(512, 612)]
    assert 1_000_000 < layouts.size <= 2_000_000
    assert not isinstance(held[-1], ReadyBlocks)
    assert held[-1].packets(1, 1)[0][4:] == NBP[:611]
    del held
    gc.collect()
    assert layouts.size <= 1_000_000
