"""Cordon and drain against a small API server that checks each call as Kubernetes would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.hook_runs import run_hook
from tests.support.api_server import Asked, Calls, serving
from tests.support.certificates import make_certificate

TOKEN = "eyJ-a-service-account"


def pod(name: str, owner: str = "ReplicaSet", **more: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "namespace": "shop", "uid": f"uid-{name}"}
    if owner:
        meta["ownerReferences"] = [{"kind": owner, "name": "x", "controller": True}]
    meta |= more
    return {"metadata": meta, "status": {"phase": "Running"}}


@dataclass
class Cluster:
    """A node n1 with pods; ``budget`` forbids so many evictions of a pod, and then allows it."""

    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    node: dict[str, Any] = field(default_factory=lambda: {"metadata": {"name": "n1"}, "spec": {}})
    budget: dict[str, int] = field(default_factory=dict)
    lingers: dict[str, int] = field(default_factory=dict)

    def add(self, *pods: dict[str, Any]) -> None:
        self.pods |= {one["metadata"]["name"]: one for one in pods}

    def answer(self, asked: Asked) -> tuple[int, Any]:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"kind": "Status", "message": "Unauthorized"}
        if asked.path.startswith("/api/v1/nodes/"):
            return self._node(asked)
        if asked.path == "/api/v1/pods":
            return self._list(asked)
        found = re.fullmatch(r"/api/v1/namespaces/shop/pods/([a-z0-9-]+)(/eviction)?", asked.path)
        if not found or found[1] not in self.pods:
            return 404, {"message": "not found"}
        return self._evict(asked, found[1]) if found[2] else self._pod(found[1])

    def _node(self, asked: Asked) -> tuple[int, Any]:
        if not asked.path.endswith("/n1"):
            return 404, {"message": "nodes not found"}
        if asked.method == "PATCH":
            assert asked.headers["content-type"] == "application/merge-patch+json"
            for part in ("spec", "metadata"):
                _merge(self.node.setdefault(part, {}), asked.body[part])
        return 200, self.node

    def _list(self, asked: Asked) -> tuple[int, Any]:
        assert asked.query["fieldSelector"] == "spec.nodeName=n1"
        names = sorted(self.pods)
        start = int(asked.query.get("continue") or 0)
        page = [self.pods[name] for name in names[start : start + 3]]
        rest = str(start + 3) if start + 3 < len(names) else ""
        return 200, {"items": page, "metadata": {"continue": rest}}

    def _pod(self, name: str) -> tuple[int, Any]:
        if name in self.lingers:
            self.lingers[name] -= 1
            if self.lingers[name] <= 0:
                del self.pods[name], self.lingers[name]
                return 404, {"message": "not found"}
        return 200, self.pods[name]

    def _evict(self, asked: Asked, name: str) -> tuple[int, Any]:
        body = asked.body
        assert (asked.method, body["apiVersion"], body["kind"]) == ("POST", "policy/v1", "Eviction")
        assert body["metadata"] == {"name": name, "namespace": "shop"}
        assert body["deleteOptions"]["preconditions"]["uid"] == f"uid-{name}"
        if self.budget.get(name, 0) > 0:
            self.budget[name] -= 1
            return 429, {"message": "Cannot evict pod as it would violate the budget"}
        self.lingers.setdefault(name, 2)
        return 201, {}


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    """RFC 7386."""
    for name, value in patch.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, dict):
            _merge(into.setdefault(name, {}), value)
        else:
            into[name] = value


@dataclass
class World:
    cluster: Cluster
    calls: Calls
    token: Path
    ca_file: Path

    async def __call__(self, action: str, *words: str, code: int = 0, **more: Any) -> str:
        where = ["--server", self.calls.url, "--token-file", str(self.token)]
        where += ["--ca-file", str(self.ca_file), "--pause", "0.01"]
        return await run_hook("kubernetes.py", action, *where, *words, code=code, **more)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    cluster, pair = Cluster(), make_certificate(tmp_path)
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    with serving(cluster.answer, pair) as calls:
        yield World(cluster, calls, token, pair[0])


async def test_a_node_is_cordoned_drained_and_uncordoned(world: World) -> None:
    world.cluster.add(
        pod("web-1"),
        pod("web-2"),
        pod("db-0", "StatefulSet"),
        pod("agent", "DaemonSet"),
        pod("static", "Node", annotations={"kubernetes.io/config.mirror": "x"}),
    )
    said = await world("drain")
    assert said == "n1 is cordoned\nn1 is drained\n"
    assert world.cluster.node["spec"] == {"unschedulable": True}
    assert sorted(world.cluster.pods) == ["agent", "static"]
    first, *evictions = world.calls.changes()
    assert first == "PATCH /api/v1/nodes/n1"
    pods = "POST /api/v1/namespaces/shop/pods"
    names = ("db-0", "web-1", "web-2")
    assert evictions == [f"{pods}/{name}/eviction" for name in names]
    world.cluster.node["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert await world("uncordon") == "n1 is uncordoned\n"
    assert world.cluster.node["spec"] == {}
    assert world.cluster.node["metadata"]["annotations"] == {}


async def test_a_budget_is_waited_for(world: World) -> None:
    world.cluster.add(pod("web-1"))
    world.cluster.budget["web-1"] = 3
    assert (await world("drain")).endswith("n1 is drained\n")
    assert len([one for one in world.calls.changes() if one.endswith("eviction")]) == 4


async def test_a_budget_that_never_allows_it_is_told_at_the_end(world: World) -> None:
    world.cluster.add(pod("web-1"))
    world.cluster.budget["web-1"] = 1_000_000
    said = await world("drain", "--timeout", "0.5", code=1)
    assert "drain: still on n1 after 0.5 s: shop/web-1 (Cannot evict pod" in said


async def test_pods_that_nobody_would_start_again_are_named(world: World) -> None:
    world.cluster.add(pod("web-1"), pod("precious", owner=""))
    said = await world("drain", code=1)
    assert "no controller would start these pods elsewhere: shop/precious." in said
    assert world.calls.changes() == []
    assert (await world("drain", "--force")).endswith("is drained\n")


async def test_it_may_be_run_again(world: World) -> None:
    await world("drain")
    assert await world("drain") == "n1 is cordoned already\nn1 is drained\n"
    world.cluster.node["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    await world("uncordon")
    assert await world("uncordon") == "n1 was not cordoned by bootserve\n"


async def test_what_somebody_else_cordoned_stays_so(world: World) -> None:
    world.cluster.node["spec"]["unschedulable"] = True
    await world("drain")
    assert await world("uncordon") == "n1 was not cordoned by bootserve\n"
    assert world.cluster.node["spec"]["unschedulable"] is True


async def test_a_node_that_another_reboot_was_drained_for_stays_cordoned(world: World) -> None:
    """Of two reboots at once the last drain counts; a drain that failed is ended by the next."""
    world.cluster.node["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    await world("drain")
    marks = world.cluster.node["metadata"]["annotations"]
    assert marks == {"bootserve/cordoned-for": "reboot-n1-4"}
    marks["bootserve/cordoned-for"] = "rollout-3-n1-1"
    assert await world("uncordon") == "n1 is cordoned for rollout-3-n1-1 meanwhile\n"
    assert world.cluster.node["spec"]["unschedulable"] is True
    await world("drain")
    assert await world("uncordon") == "n1 is uncordoned\n"


async def test_a_node_that_is_not_ready_stays_cordoned(world: World) -> None:
    await world("drain")
    said = await world("uncordon", "--timeout", "0.2", code=1)
    assert "not ready after 0.2 s; it stays cordoned" in said
    assert world.cluster.node["spec"]["unschedulable"] is True


async def test_a_test_changes_nothing(world: World) -> None:
    world.cluster.add(pod("web-1"))
    said = await world("drain", test=True)
    assert said == "test: n1 would be cordoned and 1 pods evicted\n"
    await world("uncordon", test=True)
    assert world.calls.changes() == []


async def test_the_name_in_the_cluster_may_be_another(world: World) -> None:
    world.cluster.node["metadata"]["name"] = "n1"
    said = await world("drain", code=1, label="k8s-node=worker-7")
    assert "the cluster has no node worker-7" in said
    assert "label k8s-node" in said
    await world("drain", "--node", "n1", label="k8s-node=worker-7")


async def test_errors_say_what_is_wrong(world: World, tmp_path: Path) -> None:
    world.token.write_text("wrong")
    assert "status 401: Unauthorized" in await world("drain", code=1)
    assert "cannot use /nowhere" in await world("drain", "--token-file", "/nowhere", code=1)
    away = ["--server", "https://127.0.0.1:1"]
    assert "cannot reach https://127.0.0.1:1" in await world("drain", *away, code=1)
    other = tmp_path / "other"
    other.mkdir()
    cert, _ = make_certificate(other)
    said = await world("drain", "--ca-file", str(cert), code=1)
    assert "CERTIFICATE_VERIFY_FAILED" in said
