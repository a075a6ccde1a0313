"""The programs in ``bench/c``, compiled when they are first used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from vm_harness.errors import HarnessError
from vm_harness.net import run

__all__ = ["ROOT", "arguments", "parse", "program"]

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "bench/c"
BUILD = ROOT / "build/bench"
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror"]


def program(name: str) -> Path:
    """Return the program made of ``bench/c/NAME.c``, newer than its sources; raises HarnessError.

    Two runs may compile at once: each writes its own file, and a rename settles it.
    """
    sources = [SOURCES / f"{name}.c", *SOURCES.glob("*.h")]
    binary = BUILD / name
    if binary.exists() and all(s.stat().st_mtime < binary.stat().st_mtime for s in sources):
        return binary
    BUILD.mkdir(parents=True, exist_ok=True)
    fresh = Path(run(["mktemp", str(BUILD / f"{name}.XXXXXX")]).strip())
    try:
        run(["gcc", *FLAGS, "-o", str(fresh), str(sources[0])], timeout=120)
        fresh.rename(binary)
    finally:
        fresh.unlink(missing_ok=True)
    return binary


def arguments(name: str, values: Mapping[str, object]) -> list[str]:
    """Return the command line of the program ``name`` with ``key=value`` for each of ``values``."""
    given = (f"{key.replace('_', '-')}={value}" for key, value in values.items())
    return [str(program(name)), *given]


def parse(name: str, said: str) -> dict[str, float | str]:
    """Return what a generator printed; raises HarnessError when that is not one JSON object."""
    try:
        found = json.loads(said)
    except json.JSONDecodeError:
        raise HarnessError(f"{name} printed no figures: {said[-200:]!r}") from None
    if not isinstance(found, dict):
        raise HarnessError(f"{name} printed no figures: {said[-200:]!r}")
    return found
