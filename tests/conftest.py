"""What tests of several folders use."""

from __future__ import annotations

import pytest

from bootserve.build.bundle import Bundle
from tests.support.bundles import built_once


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demo image."""
    return built_once(tmp_path_factory, "demo")
