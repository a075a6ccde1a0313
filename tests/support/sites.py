"""Desired states as hypothesis makes them: fleets with racks, odd names, labels and pins."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from bootserve.model.desired import (
    BootFrom,
    DesiredState,
    NbpPin,
    Node,
    Pin,
    Rack,
    Role,
    Scope,
    ScopeKind,
)
from bootserve.model.generation import GenerationRef
from bootserve.model.names import Arch
from bootserve.model.nbp import NbpArch
from bootserve.model.shape import ShapeSetting

__all__ = ["mac", "states"]

NAMES = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,6}[a-z0-9])?", fullmatch=True),
    st.builds("r{}n{:02}".format, st.integers(1, 3), st.integers(1, 12)),
    st.builds("n{}".format, st.integers(1, 30)),
    st.sampled_from(["null", "yes", "on", "1e3", "0x10", "12", "1_0", "y", "n-", "true"]).filter(
        lambda name: not name.endswith("-")
    ),
)
IMAGES = st.sampled_from(["web", "ceph", "null", "7"])
ARGS = st.sampled_from(["", "quiet", "a=1 b", "console=ttyS0,115200n8", "x: y # z", '"q" \'', "on"])
LABELS = st.dictionaries(
    st.sampled_from(["address", "row", "serial", "x-1"]),
    st.one_of(
        st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=0, max_size=8),
        st.builds("10.0.0.{}".format, st.integers(0, 40)),
        st.sampled_from(["a", "yes", "12", "[1-2]", "", "a,b", "~"]),
    ),
    max_size=3,
)


def mac(number: int) -> str:
    """Return the MAC address 52:54:… of a number."""
    digits = f"{0x5254 << 32 | number:012x}"
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


@st.composite
def states(draw: st.DrawFn) -> DesiredState:
    """Any state that commits can lead to, small."""
    names = draw(st.lists(NAMES, max_size=14, unique=True))
    roles = draw(st.lists(NAMES, max_size=3, unique=True))
    racks = draw(st.lists(NAMES, max_size=3, unique=True))
    start, step = draw(st.integers(0, 300)), draw(st.sampled_from([1, 2, 7, 1000]))
    nodes, used = {}, start
    settings = [draw(node_settings(roles, racks)) for _ in range(3)]
    for name in names:
        count = draw(st.sampled_from([1, 1, 1, 2]))
        macs = tuple(mac(used + step * place) for place in range(count))
        used += step * count
        labels = tuple(sorted(draw(LABELS).items())) if draw(st.booleans()) else ()
        nodes[name] = Node(name, macs, labels=labels, **draw(st.sampled_from(settings)))
    return DesiredState(
        nodes=nodes,
        roles={name: Role(name, draw(IMAGES), draw(ARGS)) for name in roles},
        racks={name: Rack(name, draw(ARGS)) for name in racks if draw(st.booleans())},
        pins={pin.key: pin for pin in draw(st.lists(pins(names), max_size=5))},
        nbp_pins={pin.key: pin for pin in draw(st.lists(nbp_pins(names), max_size=4))},
    )


def node_settings(roles: list[str], racks: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Everything of a node but its name, MACs and labels."""
    return st.fixed_dictionaries(
        {
            "rack": st.sampled_from(["", *racks]),
            "role": st.sampled_from(["", "gone", *roles]),
            "arch": st.sampled_from(Arch),
            "image": st.one_of(st.just(""), IMAGES),
            "kernel_args": ARGS,
            "boot": st.sampled_from(BootFrom),
            "nbp": st.sampled_from(["", "snponly.efi"]),
            "shape": st.sampled_from(ShapeSetting),
        }
    )


def scopes(names: list[str]) -> st.SearchStrategy[Scope]:
    """Scopes that pins can be at: nodes that there are, racks, the site."""
    nodes = [Scope(ScopeKind.NODE, name) for name in names]
    racks = [Scope(ScopeKind.RACK, name) for name in ("r1", "null", "1")]
    return st.sampled_from([*nodes, *racks, Scope(ScopeKind.SITE)])


def pins(names: list[str]) -> st.SearchStrategy[Pin]:
    """Pins, of roles too."""
    where = st.one_of(scopes(names), st.just(Scope(ScopeKind.ROLE, "compute")))
    return st.builds(Pin, where, st.builds(GenerationRef, IMAGES, st.integers(1, 50)))


def nbp_pins(names: list[str]) -> st.SearchStrategy[NbpPin]:
    """Pins of NBPs."""
    efi = st.builds(NbpPin, scopes(names), st.just(NbpArch.X64), st.just("ipxe-1.efi"))
    bios = st.builds(NbpPin, scopes(names), st.just(NbpArch.BIOS), st.just("undionly.kpxe"))
    return st.one_of(efi, bios)
