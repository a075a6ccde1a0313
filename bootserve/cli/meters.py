"""Progress of long commands: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from bootserve.build.progress import STAGES, Progress, ProgressCallback
from bootserve.cli.output import Output, clean, human_size
from bootserve.cli.transfer import Moved

__all__ = ["build_meter", "transfer_meter"]


@contextmanager
def transfer_meter(out: Output, sizes: Mapping[str, int]) -> Iterator[Moved]:
    """Show how much of each artifact (sizes in bytes) has moved, and how fast."""
    started, before, now = time.monotonic(), dict.fromkeys(sizes, -1), dict.fromkeys(sizes, 0)
    bars = out.progress(
        TextColumn("{task.description:8}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with bars:
        tasks: dict[str, TaskID] = {}

        def moved(name: str, at: int) -> None:
            if before[name] < 0:
                before[name] = at  # what an earlier run had sent already is not this one's speed
                tasks[name] = bars.add_task(name, total=sizes[name], completed=at)
            now[name] = at
            bars.update(tasks[name], completed=at)
            if at == sizes[name] and not out.progress_shown:
                out.note(f"{name}: {human_size(at)}")

        yield moved
    seconds = max(time.monotonic() - started, 1e-3)
    count = sum(now[name] - max(start, 0) for name, start in before.items())
    if count:
        out.note(f"{human_size(count)} in {seconds:.1f} s, {human_size(count / seconds)}/s")


@contextmanager
def build_meter(out: Output) -> Iterator[ProgressCallback]:
    """Show the stage a build is in; in a pipe, one line when a stage begins."""
    started = time.monotonic()
    bar = out.progress(
        TextColumn("{task.description:10}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with bar:
        task = bar.add_task("", total=len(STAGES), detail="")
        listed: set[str] = set()
        furthest = 0.0

        def tell(progress: Progress) -> None:
            nonlocal furthest  # stages may run side by side; a bar that goes back misleads
            furthest = max(furthest, STAGES.index(progress.stage) + progress.fraction)
            bar.update(
                task, description=progress.stage, completed=furthest, detail=clean(progress.detail)
            )
            if progress.stage not in listed and not out.progress_shown:
                listed.add(progress.stage)
                out.note(f"{time.monotonic() - started:6.1f} s  {progress.stage}")

        yield tell
