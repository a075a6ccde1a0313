"""A test that is skipped or let off fails the run, alone and in the processes of pytest-xdist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import ROOT

TESTS = """\
import unittest

import pytest


@pytest.fixture
def absent():
    pytest.skip("by a fixture")


@pytest.mark.skip(reason="by a mark")
def test_marked():
    pass


@pytest.mark.skipif(True, reason="by a condition")
def test_conditional():
    pass


def test_called():
    pytest.skip("by a call")


def test_fixture(absent):
    pass


class TestOld(unittest.TestCase):
    @unittest.skip("by unittest")
    def test_unittest(self):
        pass


@pytest.mark.xfail(reason="known to fail")
def test_xfail():
    assert False


def test_xfail_called():
    pytest.xfail("said to fail")


@pytest.mark.xfail(strict=False, reason="passes all the same")
def test_xpass():
    pass


def test_good():
    pass
"""
SAID = [
    *("by a mark", "by a condition", "by a call", "by a fixture", "by unittest"),
    *("known to fail", "said to fail", "passes all the same"),
]
SKIPPED_WHOLE = "import pytest\npytest.skip('as a whole', allow_module_level=True)\n"
EMPTY = """\
import pytest


@pytest.mark.parametrize("one", [])
def test_each(one):
    pass
"""


def run(folder: Path, **modules: str) -> tuple[int, str]:
    """Run modules of tests by the project's own settings; return the status and what it says."""
    for name, text in modules.items():
        (folder / f"test_{name}.py").write_text(text)
    argv = [
        *(sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "tests.conftest"),
        *("-p", "no:cacheprovider", "-n", "2", str(folder)),
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


def test_what_is_skipped_or_let_off_fails(tmp_path: Path) -> None:
    code, said = run(tmp_path, made=TESTS)
    assert code == pytest.ExitCode.TESTS_FAILED, said
    for reason in SAID:
        assert f"no test may be skipped or let off here: {reason}" in said
    # three of them do not come as far as their test itself
    assert said.splitlines()[-1].strip("= ").startswith("5 failed, 1 passed, 3 errors in "), said


def test_a_module_without_a_test_to_run_fails(tmp_path: Path) -> None:
    code, said = run(tmp_path, skipped=SKIPPED_WHOLE, empty=EMPTY)
    assert code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), said
    assert "no module may be skipped here: as a whole" in said
    assert "Empty parameter set in 'test_each'" in said
