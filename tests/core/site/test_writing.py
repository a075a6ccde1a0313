"""A site file that is written says the state it was written from, and is short."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given, settings

from bootserve.core.site.changes import NODE_READERS, changes_between
from bootserve.core.site.loading import load_site
from bootserve.core.site.schema import NodeEntry, RackEntry, RoleEntry, SiteFile
from bootserve.core.site.writing import write_site
from bootserve.model.desired import DesiredState, Node, Rack, Role
from tests.support.sites import mac, states


@settings(max_examples=60, deadline=None)
@given(states())
def test_what_is_written_reads_back_as_the_same(desired: DesiredState) -> None:
    text = write_site(desired)
    again = load_site(text, "site.yaml").over(DesiredState())
    assert again == desired
    assert not changes_between(desired, load_site(text, "site.yaml").over(desired))
    assert write_site(again) == text


def test_every_field_of_the_state_has_a_place_in_the_file() -> None:
    def names(kind: type) -> set[str]:
        return {one.name for one in fields(kind)}

    settings_of_nodes = set(NodeEntry.model_fields) - {"each"}
    assert names(Node) - {"name"} == settings_of_nodes == set(NODE_READERS)
    assert names(Role) - {"name"} == set(RoleEntry.model_fields)
    assert names(Rack) - {"name"} == set(RackEntry.model_fields) - {"defaults", "nodes"}
    assert names(DesiredState) == set(SiteFile.model_fields) - {"format", "defaults"}


def test_a_rack_with_an_exception_stays_short() -> None:
    nodes = [
        Node(f"r1n{n:02}", (mac(2 * n), mac(2 * n + 1)), "r1", "osd" if n == 7 else "compute")
        for n in range(1, 41)
    ]
    text = write_site(DesiredState(nodes={node.name: node for node in nodes}), parts=True)
    assert text.splitlines()[2:] == [
        "racks:",
        "  r1:",
        "    defaults: {role: compute}",
        "    nodes:",
        "      r1n[01-06]:",
        "        macs:",
        "          - 52:54:00:00:00:[02-0c/2]",
        "          - 52:54:00:00:00:[03-0d/2]",
        "      r1n07: {macs: [52:54:00:00:00:0e, 52:54:00:00:00:0f], role: osd}",
        "      r1n[08-40]:",
        "        macs:",
        "          - 52:54:00:00:00:[10-50/2]",
        "          - 52:54:00:00:00:[11-51/2]",
    ]
