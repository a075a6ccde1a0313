"""A flood of one kind of event is some lines and a count."""

from __future__ import annotations

import structlog
from structlog.testing import LogCapture

from bootserve.service.calm import Calm


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.captured = LogCapture()
        log = structlog.wrap_logger(None, processors=[self.captured])
        self.calm = Calm(log, lines=3, clock=lambda: self.now)

    def flood(self, event: str, count: int) -> None:
        for number in range(count):
            self.calm.info(event, number=number)

    def take(self) -> list[object]:
        lines, self.captured.entries = self.captured.entries, []
        return [line.get("number", line.get("detail")) for line in lines]


def test_the_first_lines_are_written_and_the_rest_counted() -> None:
    scene = Scene()
    scene.flood("refused", 5000)
    assert scene.take() == [0, 1, 2]
    scene.calm.flush()
    assert scene.take() == ["and 4997 more like these"]
    assert scene.calm.counts == {"refused": 5000}


def test_a_new_minute_says_what_the_last_left_out_and_begins_again() -> None:
    scene = Scene()
    scene.flood("refused", 4)
    scene.now = 60.0
    scene.flood("refused", 4)
    assert scene.take() == [0, 1, 2, "and 1 more like these", 0, 1, 2]


def test_kinds_and_levels_do_not_hide_each_other() -> None:
    scene = Scene()
    scene.flood("refused", 100)
    scene.flood("stalled", 1)
    scene.calm.warning("refused", number="w")
    scene.calm.error("refused", number="e")
    assert scene.take() == [0, 1, 2, 0, "w", "e"]


def test_kinds_of_one_event_do_not_hide_each_other() -> None:
    scene = Scene()
    for number in range(5):
        scene.calm.info("tftp", kind="failed", number=number)
    scene.calm.info("tftp", number="whole")
    assert scene.take() == [0, 1, 2, "whole"]
    scene.calm.flush()
    (line,) = scene.captured.entries
    assert (line["kind"], line["detail"]) == ("failed", "and 2 more like these")
    assert scene.calm.counts == {"tftp": 6}


def test_nothing_is_said_of_nothing() -> None:
    scene = Scene()
    scene.flood("refused", 3)
    scene.now = 61.0
    scene.calm.flush()
    assert scene.take() == [0, 1, 2]


async def test_the_count_comes_by_itself() -> None:
    import asyncio

    scene = Scene()
    scene.flood("refused", 3)
    scene.now = 59.99
    scene.flood("refused", 2)
    assert scene.take() == [0, 1, 2]
    await asyncio.sleep(0.05)
    assert scene.take() == ["and 2 more like these"]
