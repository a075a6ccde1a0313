"""Runs a target's fuzzer as a process of its own, and reads what it found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import MODULES

__all__ = ["FOUND", "Outcome", "fuzz", "once_found", "shares"]

ROOT = Path(__file__).resolve().parents[2]
FOUND = Path(__file__).with_name("found")
"""Inputs that once broke a promise, each under ``TARGET-DIGEST``."""


@dataclass(frozen=True)
class Outcome:
    """``executions`` inputs were tried; ``error`` is empty unless one, ``input``, failed."""

    target: str
    executions: int
    features: int
    error: str
    input: bytes
    output: str


def once_found(folder: Path = FOUND) -> dict[str, list[Path]]:
    """Return the inputs in ``folder`` by the name of their target, which may have hyphens too."""
    by_target: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name != "README.md":
            by_target.setdefault(path.name.rpartition("-")[0], []).append(path)
    return by_target


def shares(seconds: int, targets: Sequence[str]) -> dict[str, int]:
    """Return how many whole seconds each target gets, ``seconds`` in all.

    With more targets than seconds each gets one: to libFuzzer none is no end.
    """
    least, left = divmod(seconds, len(targets))
    return {name: max(1, least + (place < left)) for place, name in enumerate(targets)}


def fuzz(
    target: str, *, seconds: int = 0, runs: int = -1, seed: int = 0, package: Path = ROOT
) -> Outcome:
    """Fuzz ``target`` for ``seconds`` or ``runs`` inputs, whichever ends first.

    ``seed`` makes a run with ``runs`` repeatable; 0 takes another one each time. ``package`` is
    the folder that has the ``bootserve`` to fuzz. Raises RuntimeError when the fuzzer itself fails.
    """
    with tempfile.TemporaryDirectory(prefix="bootserve-fuzz-") as scratch:
        flags = [f"-artifact_prefix={scratch}/", f"-runs={runs}", f"-seed={seed}"]
        flags += [f"-max_total_time={seconds}"] if seconds else []
        environment = {
            **os.environ,
            "PYTHONPATH": f"{package}{os.pathsep}{ROOT}",
            "TMPDIR": scratch,
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.one", _module_of(target), target, *flags],
            cwd=scratch,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        found = [path for path in Path(scratch).iterdir() if path.is_file()]
        data = found[0].read_bytes() if found else b""
        for folder in Path(scratch).iterdir():
            shutil.rmtree(folder, ignore_errors=True)
    executions = _last(r"number_of_executed_units: (\d+)", done.stdout)
    if done.returncode and not found:
        raise RuntimeError(f"the fuzzer of {target} failed:\n{done.stdout[-4000:]}")
    return Outcome(
        target=target,
        executions=executions,
        features=_last(r" ft: (\d+)", done.stdout),
        error=_error(done.stdout) if done.returncode else "",
        input=data,
        output=done.stdout,
    )


def _module_of(target: str) -> str:
    """Return the name of the module of :mod:`tests.fuzz` that has ``target``."""
    return next(one.__name__ for one in MODULES if target in one.TARGETS).rpartition(".")[2]


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def _error(output: str) -> str:
    """Return the exception's line, or libFuzzer's own (out of time or memory)."""
    lines = [line.strip() for line in output.splitlines()]
    for place, line in enumerate(lines):
        if "Uncaught Python exception" in line:
            return next((one for one in lines[place + 1 :] if one), line)
    return next((line for line in lines if line.startswith("==") and "ERROR" in line), "it failed")
