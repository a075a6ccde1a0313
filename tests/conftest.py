"""What tests of several folders use."""

from __future__ import annotations

import pytest
from hypothesis import settings

from bootserve.build.bundle import Bundle
from tests.support.bundles import built_once

# How long an example takes says more about the machine than about the code.
settings.register_profile("bootserve", deadline=None)
settings.load_profile("bootserve")


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demo image."""
    return built_once(tmp_path_factory, "demo")
