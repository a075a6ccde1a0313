"""What a change comes to in terms of nodes, in data and in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootserve.core.site.changes import Changes, changes_between, changes_from_document
from bootserve.core.site.effects import EffectKind, effects_between
from bootserve.core.site.planning import preview
from bootserve.core.site.wording import host_list, listed, sentences
from bootserve.core.snapshot import changed_nodes
from bootserve.errors import Conflict, NotFound, Refused
from bootserve.model.desired import BootFrom, DesiredState, Node, Rack, Role
from bootserve.model.names import Arch
from bootserve.model.shape import ShapeSetting
from tests.support.sites import mac, states
from tests.support.states import generation, snapshot, state

GENERATIONS = (
    *(generation(f"web@{number}") for number in (40, 41)),
    generation("web@42", removed=True),
    generation("ceph@7"),
)


def fleet(pins: str, **roles: str) -> DesiredState:
    nodes = [Node(f"r12n{n:02}", (mac(n),), rack="r12", role="compute") for n in range(1, 17)]
    nodes.append(Node("r12s1", (mac(90),), rack="r12", role="osd"))
    return state(*nodes, pins=pins, roles="compute=web osd=ceph")


BASE = fleet("site web@40;node/r12n15 web@40;node/r12n16 web@40;site ceph@7")


def told(after: DesiredState, before: DesiredState = BASE) -> list[str]:
    found = preview(lambda _state: after, snapshot(before, *GENERATIONS))
    return sentences(found.effects)


def changed(name: str, **fields: object) -> DesiredState:
    one = replace(BASE.nodes[name], **fields)  # type: ignore[arg-type]
    return replace(BASE, nodes={**BASE.nodes, name: one})


def without(name: str) -> DesiredState:
    return replace(BASE, nodes={k: v for k, v in BASE.nodes.items() if k != name})


def with_pins(pins: str) -> DesiredState:
    return replace(BASE, pins=fleet(pins).pins)


KEPT = "node/r12n15 web@40;node/r12n16 web@40;site ceph@7"
SAID: list[tuple[DesiredState, list[str]]] = [
    (BASE, []),
    (
        with_pins(f"site web@41;{KEPT}"),
        [
            "14 nodes of rack r12 go from web@40 to @41 at their next boot;"
            " 2 are unchanged because of a node pin."
        ],
    ),
    (
        with_pins(f"site web@40;rack/r12 web@41;{KEPT}"),
        [
            "14 nodes of rack r12 go from web@40 to @41 at their next boot;"
            " 2 are unchanged because of a node pin."
        ],
    ),
    (
        with_pins(f"site web@41;rack/r12 web@40;{KEPT}"),
        ["14 nodes of rack r12 are unchanged because of a rack pin.",
         "2 nodes of rack r12 are unchanged because of a node pin."],
    ),
    (
        with_pins(KEPT),
        [
            "14 nodes of rack r12 boot nothing: they hold in place of web@40 at their next boot;"
            " 2 are unchanged because of a node pin."
        ],
    ),
    (changed("r12n01", role="osd"),
     ["Node r12n01 of rack r12 goes from web@40 to ceph@7 at its next boot."]),
    (changed("r12n01", boot=BootFrom.LOCAL),
     ["Node r12n01 of rack r12 boots the local disk in place of web@40 at its next boot."]),
    (changed("r12n01", kernel_args="debug"),
     ["Node r12n01 of rack r12 gets other kernel arguments with web@40 at its next boot."]),
    (changed("r12n01", nbp="x.efi", shape=ShapeSetting.BINL),
     ["Node r12n01 of rack r12 loads NBP x.efi, shape binl in place of the default"
      " at its next boot."]),
    (changed("r12n01", macs=(mac(99),), labels=(("a", "b"),)),
     ["Node r12n01 of rack r12 changes in macs, labels and boots as before."]),
    (without("r12n01"), ["Node r12n01 of rack r12 is removed; until now it boots web@40."]),
    (replace(BASE, nodes={**BASE.nodes, "x": Node("x", (mac(98),), role="compute")}),
     ["Node x is added and boots web@40 at its next boot."]),
    (replace(BASE, racks={"r12": Rack("r12", "quiet")}),
     ["16 nodes of rack r12 get other kernel arguments with web@40 at their next boot.",
      "Node r12s1 of rack r12 gets other kernel arguments with ceph@7 at its next boot."]),
]  # fmt: skip


@pytest.mark.parametrize(("after", "words"), SAID, ids=range(len(SAID)))
def test_effects_in_words(after: DesiredState, words: list[str]) -> None:
    assert sorted(told(after)) == sorted(words)


@pytest.mark.parametrize(
    ("after", "error", "words"),
    [
        (with_pins("site web@99"), NotFound, "there is no generation web@99"),
        (with_pins("site web@42"), NotFound, "were removed"),
        (changed("r12n01", arch=Arch.ARM64), Refused, "unable to boot"),
    ],
)
def test_what_no_commit_would_take_is_refused(
    after: DesiredState, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        told(after)


@settings(max_examples=30, deadline=None)
@given(states(), states())
def test_changes_lead_from_any_state_to_any_other(one: DesiredState, two: DesiredState) -> None:
    changes = changes_between(one, two)
    carried = changes_from_document(changes.document())
    assert carried == changes
    assert carried.apply(one) == two
    assert bool(changes) == (one != two)
    assert bool(listed(changes, one)) == bool(changes)


@settings(max_examples=30, deadline=None)
@given(states(), states())
def test_every_node_that_changes_is_in_one_effect(one: DesiredState, two: DesiredState) -> None:
    before, after = snapshot(one, *GENERATIONS), snapshot(two, *GENERATIONS, revision=2)
    effects = effects_between(before, after)
    names = [name for effect in effects for name in effect.nodes]
    assert len(names) == len(set(names))
    unchanged = {n for e in effects if e.kind is EffectKind.UNCHANGED for n in e.nodes}
    different = {
        name
        for name in one.nodes.keys() | two.nodes.keys()
        if one.nodes.get(name) != two.nodes.get(name)
    }
    assert different <= set(names)
    assert not different & unchanged
    boots = [
        e for e in effects if e.kind in (EffectKind.BOOTS, EffectKind.ADDED, EffectKind.REMOVED)
    ]
    assert sum(len(e.nodes) for e in boots) <= changed_nodes(before, after) + len(names)
    assert effects_between(after, after) == []


def test_a_mac_has_one_node_and_what_is_removed_must_be_there() -> None:
    taken = Changes(nodes={"new": Node("new", (mac(1),))})
    with pytest.raises(Conflict, match="would belong to node r12n01 and to node new"):
        taken.apply(BASE)
    with pytest.raises(Conflict, match="no node gone to remove"):
        Changes(nodes={"gone": None}).apply(BASE)
    with pytest.raises(Conflict, match="node/r12n15 has a pin"):
        Changes(nodes={"r12n15": None}).apply(BASE)


def test_a_swap_of_addresses_is_one_change() -> None:
    one, two = BASE.nodes["r12n01"], BASE.nodes["r12n02"]
    swapped = Changes(nodes={
        "r12n01": replace(one, macs=two.macs), "r12n02": replace(two, macs=one.macs)
    })  # fmt: skip
    assert swapped.apply(BASE).nodes["r12n01"].macs == two.macs


def test_what_changes_is_listed() -> None:
    after = replace(
        with_pins("site web@41;site ceph@7"),
        roles={"compute": Role("compute", "web", "quiet"), "new": Role("new", "x")},
    )
    assert listed(changes_between(BASE, after), BASE) == [
        "~ role compute: kernel_args '' → 'quiet'",
        "+ role new: image 'x'",
        "- role osd",
        "- pin node/r12n15 web@40",
        "- pin node/r12n16 web@40",
        "~ pin site web@40 → web@41",
    ]


@given(st.lists(st.from_regex(r"[a-c]{1,2}[0-9]{0,3}", fullmatch=True), unique=True, max_size=300))
def test_host_lists_in_sentences_are_short(names: list[str]) -> None:
    assert len(host_list(names)) < 2000


def test_host_lists_are_cut_with_a_count() -> None:
    names = [f"{letter}{number}" for letter in "abcdefgh" for number in range(0, 40, 3)]
    assert host_list(names).endswith(" more")
    assert host_list(["n2", "n1", "x", "n10"]) == "n[1-2], n10, x"
