"""Disable and enable of a compute service against a small Keystone and Nova."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.hook_runs import run_hook
from tests.support.api_server import Asked, Calls, serving

SERVICE = "e81d66a4-ddd3-4aba-8a84-171d1cb4d339"
PASSWORD = {
    "OS_USERNAME": "bootserve",
    "OS_PASSWORD": "hunter2",
    "OS_PROJECT_NAME": "admin",
    "OS_PROJECT_DOMAIN_NAME": "sites",
}


@dataclass
class Cloud:
    """A compute service on host n1 and its servers."""

    url: str = ""
    service: dict[str, Any] = field(default_factory=dict)
    servers: dict[str, int] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.service |= {"id": SERVICE, "host": "n1", "status": "enabled", "state": "up"}
        self.service["disabled_reason"] = None

    def answer(self, asked: Asked) -> Any:
        if asked.path == "/v3/auth/tokens":
            return self._login(asked)
        if asked.headers.get("x-auth-token") != "a-token":
            return 401, {"error": {"message": "The request you have made requires authentication"}}
        assert asked.headers["openstack-api-version"] == "compute 2.53"
        match str(asked):
            case "GET /v2.1/os-services":
                assert asked.query["binary"] == "nova-compute"
                found = [self.service] if asked.query["host"] == "n1" else []
                return 200, {"services": found}
            case text if text == f"PUT /v2.1/os-services/{SERVICE}":
                self.service["disabled_reason"] = None
                self.service |= asked.body
                return 200, {"service": self.service}
            case "GET /v2.1/servers/detail":
                return self._detail(asked)
            case text if text.startswith("POST /v2.1/servers/") and text.endswith("/action"):
                assert asked.body == {"os-migrateLive": {"host": None, "block_migration": "auto"}}
                self.servers[asked.path.split("/")[3]] = 2
                return 202, {}
        return 404, {"itemNotFound": {"message": "no such thing"}}

    def _login(self, asked: Asked) -> Any:
        assert asked.body["auth"]["identity"] == self.identity, asked.body
        places = [("public", "one", "/elsewhere"), ("internal", "two", "/elsewhere")]
        places += [("public", "two", "/v2.1")]
        endpoints = [
            {"interface": kind, "region": region, "url": self.url + path}
            for kind, region, path in places
        ]
        catalog = [{"type": "identity"}, {"type": "compute", "endpoints": endpoints}]
        return 201, {"token": {"catalog": catalog}}, {"X-Subject-Token": "a-token"}

    def _detail(self, asked: Asked) -> Any:
        assert (asked.query["all_tenants"], asked.query["host"]) == ("1", "n1")
        found = [{"id": one, "name": f"name-{one}"} for one in self.servers]
        for one, looks in list(self.servers.items()):
            if looks > 0:
                self.servers[one] -= 1
                if not self.servers[one]:
                    del self.servers[one]
        return 200, {"servers": found}


@dataclass
class World:
    cloud: Cloud
    calls: Calls

    async def __call__(
        self, *words: str, code: int = 0, test: bool = False, env: dict[str, str] = PASSWORD
    ) -> str:
        env = {"OS_AUTH_URL": self.calls.url, "OS_REGION_NAME": "two", **env}
        pause = ["--pause", "0.01"]
        return await run_hook("openstack.py", *words, *pause, code=code, test=test, env=env)

    def changes(self) -> list[str]:
        return [one for one in self.calls.changes() if one != "POST /v3/auth/tokens"]


@pytest.fixture
def world() -> Iterator[World]:
    cloud = Cloud()
    user = {"name": "bootserve", "password": "hunter2", "domain": {"name": "Default"}}
    cloud.identity = {"methods": ["password"], "password": {"user": user}}
    with serving(cloud.answer) as calls:
        cloud.url = calls.url
        yield World(cloud, calls)


async def test_a_service_is_disabled_and_enabled(world: World) -> None:
    assert await world("disable") == "nova-compute on n1 is disabled\n"
    assert world.cloud.service["status"] == "disabled"
    assert world.cloud.service["disabled_reason"] == "bootserve: reboot-n1-4"
    login = world.calls.asked[0].body["auth"]
    assert login["scope"] == {"project": {"name": "admin", "domain": {"name": "sites"}}}
    assert await world("disable") == "nova-compute on n1 is disabled already\n"
    assert await world("enable") == "nova-compute on n1 is enabled\n"
    assert world.cloud.service["status"] == "enabled"
    assert world.changes() == [f"PUT /v2.1/os-services/{SERVICE}"] * 2


async def test_servers_that_run_there_are_not_ended(world: World) -> None:
    world.cloud.servers = {"s1": 0, "s2": 0}
    said = await world("disable", code=1)
    assert "servers run on n1: name-s1, name-s2. Move them, or give --servers migrate" in said
    assert world.cloud.service["status"] == "enabled"
    assert (await world("disable", "--servers", "ignore")).endswith("is disabled\n")


async def test_servers_are_migrated_each_once(world: World) -> None:
    world.cloud.servers = {"s1": 0, "s2": 0}
    said = await world("disable", "--servers", "migrate")
    assert said.endswith("2 servers were migrated from n1\n")
    moved = [one for one in world.changes() if one.endswith("/action")]
    assert moved == ["POST /v2.1/servers/s1/action", "POST /v2.1/servers/s2/action"]
    assert world.changes()[0] == f"PUT /v2.1/os-services/{SERVICE}"


async def test_a_service_that_does_not_come_up_stays_disabled(world: World) -> None:
    await world("disable")
    world.cloud.service["state"] = "down"
    said = await world("enable", "--timeout", "0.2", code=1)
    assert "is not up after 0.2 s; it stays disabled" in said
    assert world.cloud.service["status"] == "disabled"


async def test_what_somebody_else_disabled_stays_so(world: World) -> None:
    world.cloud.service |= {"status": "disabled", "disabled_reason": "broken fan"}
    await world("disable")
    assert await world("enable") == "nova-compute on n1 is disabled, and not by bootserve\n"
    assert world.cloud.service["disabled_reason"] == "broken fan"


async def test_a_test_changes_nothing(world: World) -> None:
    world.cloud.servers = {"s1": 0}
    assert await world("disable", test=True) == "test: n1 is enabled, with 1 servers\n"
    assert await world("enable", test=True) == "nova-compute on n1 is enabled\n"
    assert world.changes() == []


async def test_an_application_credential_from_a_file(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    world.cloud.identity = {
        "methods": ["application_credential"],
        "application_credential": {"id": "an-id", "secret": "s3cret"},
    }
    env = {"OS_APPLICATION_CREDENTIAL_ID": "an-id"}
    env["OS_APPLICATION_CREDENTIAL_SECRET_FILE"] = str(secret)
    assert await world("disable", env=env) == "nova-compute on n1 is disabled\n"
    assert "scope" not in world.calls.asked[0].body["auth"]


async def test_errors_say_what_is_wrong(world: World) -> None:
    said = await world("disable", "--host", "n9", code=1)
    assert "0 nova-compute services on n9" in said
    assert "label compute-host" in said
    env = {"OS_USERNAME": "bootserve", "OS_PASSWORD": "hunter2"}
    assert "OS_PROJECT_NAME is not set" in await world("disable", code=1, env=env)
    env = {**PASSWORD, "OS_REGION_NAME": "nine"}
    assert "no public compute endpoint in region nine" in await world("disable", code=1, env=env)
    env = {**PASSWORD, "OS_AUTH_URL": "http://127.0.0.1:1"}
    assert "cannot reach http://127.0.0.1:1/v3" in await world("disable", code=1, env=env)
    env = {**PASSWORD, "OS_CACERT": "/no/such.pem"}
    assert "/no/such.pem, which OS_CACERT names" in await world("disable", code=1, env=env)
