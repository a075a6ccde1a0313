"""What tests of several folders use."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import settings

from bootserve.build.bundle import Bundle
from tests.support.bundles import built_once

# How long an example takes says more about the machine than about the code.
settings.register_profile("bootserve", deadline=None)
settings.load_profile("bootserve")

DEFAULT_TIMEOUT = 300.0


@pytest.hookimpl(trylast=True)  # when the tests of the matrix are out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the modules that take long to all workers, which begin with them, the longest first.

    They wait for machines and clocks: one that is begun with last is waited for alone.
    """
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    modules = [list(found) for _, found in groupby(items, key=lambda item: item.path)]
    slow = sorted(filter(_takes_long, modules), key=_seconds, reverse=True)
    quick = [item for module in modules if not _takes_long(module) for item in module]
    share, dealt = len(items) // workers, list[pytest.Item]()
    for worker in range(workers):
        hand = [item for module in slow[worker::workers] for item in module]
        count = share - len(hand) if worker < workers - 1 else len(quick)
        dealt += hand + quick[:count]
        del quick[:count]
    items[:] = dealt


def _takes_long(module: list[pytest.Item]) -> bool:
    booted = any(item.get_closest_marker("vm") for item in module)
    return booted or _seconds(module) > DEFAULT_TIMEOUT


def _seconds(module: list[pytest.Item]) -> float:
    """Return the longest time that a test of the module may take."""
    found = [item.get_closest_marker("timeout") for item in module]
    return max((float(one.args[0]) for one in found if one), default=DEFAULT_TIMEOUT)


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demo image."""
    return built_once(tmp_path_factory, "demo")
