"""The snapshot and what identifies a node in it."""

from __future__ import annotations

import uuid

from bootserve.core.explain import explain
from bootserve.core.resolve import Action
from bootserve.core.snapshot import machine_id
from bootserve.model.desired import Node, Rack
from tests.support.states import SITE, generation, node, snapshot, state


def test_every_mac_of_a_node_leads_to_its_plan() -> None:
    two = Node("n1", ("52:54:00:00:00:01", "52:54:00:00:00:02"), role="compute")
    found = snapshot(state(two, pins="site web@1"), generation("web@1"))
    assert found.plan("52:54:00:00:00:01") == found.plan("52:54:00:00:00:02")
    assert found.plan("52:54:00:00:00:03") is None
    plan = found.plan("52:54:00:00:00:01")
    assert plan is not None
    assert plan.resolution.action is Action.BOOT


def test_machine_ids_are_uuids_that_differ_by_node_and_site_and_stay() -> None:
    ids = {machine_id(site, name) for site in (SITE, "other") for name in ("n1", "n2")}
    assert len(ids) == 4
    for one in ids:
        assert uuid.UUID(one).version == 4
        assert uuid.UUID(one).variant == uuid.RFC_4122
    assert machine_id(SITE, "n1") == "825d89948fa8447a8e1e9e673a170cc5"


def test_explain_names_the_winner_and_why_each_other_pin_lost() -> None:
    desired = state(
        node(rack="r1", role="compute", kernel_args="n"),
        node("n2", "52:54:00:00:00:02", rack="r2", role="compute"),
        pins="node/n1 web@1;rack/r1 web@2;rack/r1 ceph@1;site web@2;rack/r2 web@2",
        racks=(Rack("r1", "r"),),
    )
    found = explain(snapshot(desired, generation("web@1"), generation("web@2")), "n1")
    assert found.pin is not None
    assert str(found.pin.scope) == "node/n1"
    assert (found.image, found.image_from) == ("web", "role compute")
    assert [
        (str(lost.pin.scope), str(lost.pin.generation), lost.reason) for lost in found.lost
    ] == [
        ("rack/r1", "ceph@1", "it is for image ceph; the node runs web"),
        ("rack/r1", "web@2", "node beats rack"),
        ("site", "web@2", "node beats site"),
    ]
    assert found.kernel_args == (("rack r1", "r"), ("node n1", "n"))
