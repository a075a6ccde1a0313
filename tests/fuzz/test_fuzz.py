"""A minute of fuzzing, what was once found, and the proof that the fuzzer finds what is there."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import over_admin
from tests.fuzz.runner import ROOT, fuzz, once_found, shares
from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
SECONDS = shares(60, list(TARGETS))
"""For each of the targets: a minute in all."""

BUGS = {
    "option-length": ("dhcp", "IndexError", 200_000),
    "number-unguarded": ("tftp", "ValueError", 400_000),
    "name-not-latin": ("tftp", "UnicodeDecodeError", 200_000),
}
"""Patches that bring a bug back: the target that meets it, what is raised, inputs to find it in."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    outcome = fuzz(name, seconds=SECONDS[name])
    assert outcome.error == "", f"{outcome.input!r}\n{outcome.output[-3000:]}"
    assert outcome.executions > len(TARGETS[name].seeds())


@pytest.mark.parametrize("count", [1, 7, 19, len(TARGETS), 59, 60, 61, 200])
def test_a_minute_is_shared_without_loss(count: int) -> None:
    each = shares(60, [str(number) for number in range(count)]).values()
    assert len(each) == count
    assert sum(each) == max(60, count)
    assert max(each) - min(each) <= 1
    assert min(each) >= 1


def test_every_input_that_was_found_is_of_a_target_and_named_by_what_it_holds() -> None:
    found = once_found()
    assert found
    assert found.keys() <= TARGETS.keys()
    for paths in found.values():
        for path in paths:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert path.name.rpartition("-")[2] == digest[:12], path.name


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_was_once_found_pass(name: str) -> None:
    target = TARGETS[name]
    found = [path.read_bytes() for path in once_found().get(name, [])]
    assert target.seeds()
    for data in (*target.seeds(), *found):
        target.run(data)


def test_every_route_that_reads_a_body_has_an_example_of_one() -> None:
    """The fuzzer begins with them; without one it would meet refusals and no more."""
    assert over_admin.EXAMPLES.keys() == {over_admin.name_of(one) for one in over_admin.BODIES}
    for route in over_admin.BODIES:
        read = over_admin.parsed_example(route)
        assert type(read) is route.body
        assert read.model_fields_set


def test_a_body_that_is_bytes_is_kept_and_parsed_by_nobody() -> None:
    """What is not JSON is no example's business: there is one such route, an artifact's upload."""
    raw = [over_admin.name_of(one) for one in over_admin.ROUTES if one.raw]
    assert raw == ["PUT /artifacts/{hex}"]


def test_an_odd_value_anywhere_in_a_body_is_refused_in_words_or_answered() -> None:
    tried = set()
    for route, data in over_admin.each_odd_body():
        over_admin.TARGETS["admin"].run(data)
        tried.add(over_admin.name_of(route))
    assert tried == over_admin.EXAMPLES.keys()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_that_is_brought_back_is_found(bug: str, tmp_path: Path) -> None:
    target, raised, runs = BUGS[bug]
    shutil.copytree(ROOT / "bootserve", tmp_path / "bootserve")
    patch = HERE / f"bugs/{bug}.patch"
    subprocess.run(["patch", "-p1", "-s", "-i", str(patch)], cwd=tmp_path, check=True)
    outcome = fuzz(target, runs=runs, seed=1, package=tmp_path)
    assert outcome.error.startswith(raised), outcome.output[-3000:]
    TARGETS[target].run(outcome.input)  # without the bug it is no finding
