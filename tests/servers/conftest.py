"""A lab with a bootserve in it, and a client on its network, shared by a module's tests."""

from __future__ import annotations

import pytest
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from tests.support.api import Admin


@pytest.fixture(scope="module")
def server(lab: Lab) -> BootServer:
    return lab.bootserve().start()


@pytest.fixture(scope="module")
def admin(server: BootServer) -> Admin:
    return Admin(server.state_dir)


@pytest.fixture(scope="module")
def client(lab: Lab) -> Namespace:
    return lab.client("client", "10.44.0.50")
