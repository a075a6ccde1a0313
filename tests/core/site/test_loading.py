"""What a site file may say, and what it is told when it says something else."""

from __future__ import annotations

import pytest

from bootserve.core.site.loading import load_site
from bootserve.errors import InvalidInput
from bootserve.model.desired import DesiredState, Node, Rack, Role
from bootserve.model.names import Arch
from tests.support.sites import mac

FILE = """\
defaults: {arch: arm64, labels: {site: a}}
roles:
  compute: {image: web}
racks:
  r1:
    kernel_args: quiet
    defaults:
      role: compute
      labels: {row: on, version: 1.10}
    nodes:
      n[1-2]:
        macs: 52:54:00:00:00:[01-02]
        each: {address: "10.0.0.[9-10]"}
      n3: {macs: [52:54:00:00:00:03, 5254.0000.0004], role: '', labels: {site: b}}
  r2:
nodes:
  x[1-2]:
    macs:
      x1: 52:54:00:00:00:05
      x2: [52:54:00:00:00:06, 52:54:00:00:00:07]
  y[1-3]: {macs: ['52:54:00:00:00:[08-09]', 52:54:00:00:00:0a], rack: r2}
"""


def load(text: str) -> DesiredState:
    return load_site(text, "site.yaml").over(DesiredState())


def test_everything_is_text_and_defaults_add_up() -> None:
    state = load(FILE)
    rest = (("row", "on"), ("site", "a"), ("version", "1.10"))
    labels = (("address", "10.0.0.10"), *rest)
    assert state.nodes["n2"] == Node("n2", (mac(2),), "r1", "compute", Arch.ARM64, labels=labels)
    assert state.nodes["n3"].role == ""
    assert state.nodes["n3"].macs == (mac(3), mac(4))
    assert dict(state.nodes["n3"].labels)["site"] == "b"
    assert state.nodes["x2"].macs == (mac(6), mac(7))
    assert [state.nodes[f"y{n}"].macs for n in (1, 2, 3)] == [(mac(8),), (mac(9),), (mac(10),)]
    assert state.nodes["y1"].rack == "r2"
    assert state.racks == {"r1": Rack("r1", "quiet")}
    assert state.roles == {"compute": Role("compute", "web")}


NODE = "nodes:\n  a: {macs: 52:54:00:00:00:01%s}\n"
WRONG: list[tuple[str, int, str]] = [
    ("nodes: [\n", 1, "this is no YAML"),
    ("a: b: c\n", 1, "this is no YAML"),
    ("roles:\n  c: {image: a}\n  c: {image: b}\n", 3, "'c' is there already, on line 2"),
    ("a: &x [b]\n", 1, "anchors and aliases"),
    ("a: *x\n", 1, "anchors and aliases"),
    ("a: !!python/name:os.system ''\n", 1, "tags such as"),
    ("a: " + "[" * 100_000, 1, "nested too deeply"),
    ("format: 1\n---\nformat: 1\n", 2, "a second document"),
    ("format: 2\n", 1, "format should be 1"),
    ("pinns: {}\n", 1, "a site file has no field 'pinns'"),
    ("roles:\n  c:\n    image: a\n    imag: b\n", 4, "roles.c has no field 'imag'"),
    ("roles:\n  c: {}\n", 2, "roles.c needs 'image'"),
    ("roles:\n  C: {image: a}\n", 2, "'C' is not a usable role name"),
    ("racks:\n  r1:\n    nodes: []\n", 3, "must be names with values"),
    ("racks:\n  r1:\n    kernel_args: a || b\n", 3, "kernel arguments must not"),
    (NODE % ", arch: vax", 2, "nodes.a.arch should be 'amd64'"),
    (NODE % ", labels: {A: b}", 2, "'A' is not a usable label"),
    (NODE % ", nbp: a/b", 2, "an NBP is named by its file name"),
    (NODE % ", rack: R", 2, "'R' is not a usable rack name"),
    ("nodes:\n  a:\n    macs: zz\n", 3, "'zz' is not a MAC address"),
    ("nodes:\n  a:\n    macs: []\n", 3, "0 MAC addresses for 1 node"),
    ("nodes:\n  a[1-3]:\n    macs: 52:54:00:00:00:[01-02]\n", 3, "2 MAC addresses for 3 nodes"),
    ("nodes:\n  a[1-3]: {macs: {a1: 52:54:00:00:00:01}}\n", 2, "lacks the MAC addresses of a2"),
    ("nodes:\n  a:\n    macs:\n      b: 52:54:00:00:00:01\n", 4, "'b' is none of the nodes"),
    (NODE % "" + "  b: {macs: 5254.0000.0001}\n", 3, "belongs to node a, on line 2"),
    ("nodes:\n  a[1-2]: {macs: '52:54:00:00:00:[01-02]'}\n  a2: {macs: 52:54:00:00:00:03}\n",
     3, "node a2 is there already, on line 2"),
    (NODE % ", each: {address: '10.0.0.[1-2]'}", 2, "it has 2 values for 1 node"),
    ("racks: {r1: {nodes: {a: {macs: 52:54:00:00:00:01, rack: r2}}}}\n", 1, "stands in rack r1"),
    ("pins:\n  site: web\n", 2, "'web' does not name a generation"),
    ("pins:\n  shelf/1: web@1\n", 2, "is not a scope"),
    ("pins:\n  site: [web@1, web@2]\n", 2, "site is pinned to web@1 already"),
    ("nodes: {}\npins:\n  node/x: web@1\n", 3, "this file has no node x"),
    ("nbp_pins:\n  role/c: {x64: a.efi}\n", 2, "an NBP is pinned at"),
    ("nbp_pins:\n  site:\n    x64: a\n", 3, "ends in .efi"),
    ("nbp_pins:\n  site: {sparc: a}\n", 2, "should be 'bios'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), WRONG, ids=[row[2] for row in WRONG])
def test_what_is_wrong_is_told_with_file_and_line(text: str, line: int, words: str) -> None:
    with pytest.raises(InvalidInput) as told:
        load(text)
    assert str(told.value).startswith(f"site.yaml:{line}: "), told.value
    assert words in str(told.value)


@pytest.mark.parametrize("text", ["", "[]", "a", "- a"])
def test_what_is_no_site_file(text: str) -> None:
    with pytest.raises(InvalidInput, match="this is no site file"):
        load(text)


def test_sections_that_are_left_out_stay_but_for_pins_of_nodes_that_go() -> None:
    before = load(FILE + "pins: {site: web@1, node/n1: web@2}\nnbp_pins: {node/x1: {x64: a.efi}}\n")
    assert load_site("format: 1\n", "f").over(before) == before
    after = load_site("nodes: {z: {macs: 52:54:00:00:00:99}}\n", "f").over(before)
    assert (set(after.nodes), after.roles) == ({"z"}, before.roles)
    assert [str(one.scope) for one in after.pins.values()] == ["site"]
    assert not after.nbp_pins
    assert not after.racks
