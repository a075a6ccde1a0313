"""What tests of several folders use."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from itertools import groupby

import pytest
from hypothesis import settings

from bootserve.build.bundle import Bundle
from tests.support.bundles import built_once

# How long an example takes says more about the machine than about the code.
settings.register_profile("bootserve", deadline=None)
settings.load_profile("bootserve")

# A shell without job control has what it starts in the background ignore SIGINT, and so would what
# is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

DEFAULT_TIMEOUT = 300.0
FIGURE = "figure"


@pytest.hookimpl(trylast=True)  # when the tests of the matrix are out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take long, the longest first.

    They wait for machines and clocks: one that is begun with last is waited for alone.
    """
    modules = [list(found) for _, found in groupby(items, key=lambda item: item.path)]
    modules.sort(key=_seconds, reverse=True)
    items[:] = [item for module in modules for item in module]


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around what makes an xfail of a failure
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have a test fail that was skipped or was let off: it proves nothing, and looks as if it did.

    It is done where the test runs, so that it holds under pytest-xdist too.
    """
    report = yield
    if report.skipped or hasattr(report, "wasxfail"):
        said = report.__dict__.pop("wasxfail", None)  # or it would be counted as an xfail
        report.longrepr = f"no test may be skipped or let off here: {said or _reason(report)}"
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Have the collection fail of a module that skips itself whole."""
    report = yield
    if report.skipped:
        report.longrepr = f"no module may be skipped here: {_reason(report)}"
        report.outcome = "failed"
    return report


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Tells of what a test measured, at the end of the run: what it prints goes with its worker."""
    return lambda figure: record_property(FIGURE, figure)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured."""
    reports = [one for found in terminalreporter.stats.values() for one in found]
    figures = [
        f"{report.nodeid}: {value}"
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == FIGURE
    ]
    if figures:
        terminalreporter.section("figures")
    for figure in sorted(figures):
        terminalreporter.write_line(figure)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why it was skipped, and where."""
    why = report.longrepr
    return (
        f"{why[2].removeprefix('Skipped: ')} ({why[0]}:{why[1]})"
        if isinstance(why, tuple)
        else str(why)
    )


def _seconds(module: list[pytest.Item]) -> float:
    """Return the longest time that the tests of the module may take that boot or say how long."""
    found = [(item.get_closest_marker("timeout"), item.get_closest_marker("vm")) for item in module]
    return sum(
        float(limit.args[0]) if limit else DEFAULT_TIMEOUT for limit, vm in found if limit or vm
    )


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demo image."""
    return built_once(tmp_path_factory, "demo")
