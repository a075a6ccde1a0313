"""The desired state as a ``site.yaml``: like nodes become host lists again.

Reading what is written here gives the very state it was written from.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import yaml

from bootserve.core.site.changes import node_document
from bootserve.core.site.patterns import (
    MAX_STEP,
    fold,
    fold_macs,
    fold_names,
    mac_number,
    split_name,
)
from bootserve.model.desired import DesiredState, Node, Scope

__all__ = ["SCHEMA_URL", "write_site"]

SCHEMA_URL = "site.schema.json"

_PLAIN = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./@=+:-]*")
_PATTERN = re.compile(r"[A-Za-z0-9_./@=+:\[\],-]+")
_WORDS = frozenset({"", "null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_RESOLVER: Any = yaml.SafeLoader("")

Fields = dict[str, Any]
"""Settings of nodes as they are written: text, labels as a mapping."""
Entry = tuple[list[str | int], list[str]]
"""Lines, and what they are sorted by."""


def write_site(state: DesiredState, *, comment: str = "", parts: bool = False) -> str:
    """Return ``state`` as the text of a site file, which ``comment`` (lines of text) begins.

    With ``parts``, sections that would be empty are left out, so that applying the file leaves
    them as they are; else it says the whole state.
    """
    lines = [f"# yaml-language-server: $schema={SCHEMA_URL}"]
    lines += [f"# {line}".rstrip() for line in comment.splitlines()]
    lines.append("format: 1")
    for section in (_roles(state), _racks(state), _loose_nodes(state), *_all_pins(state)):
        if not (parts and section[0].endswith("{}")):
            lines += section
    return "\n".join(lines) + "\n"


def _all_pins(state: DesiredState) -> tuple[list[str], list[str]]:
    pins: dict[Scope, list[str]] = defaultdict(list)
    for key, pin in sorted(state.pins.items(), key=lambda item: _place(item[0].scope)):
        pins[key.scope].append(str(pin.generation))
    nbps: dict[Scope, Fields] = defaultdict(dict)
    for nbp_key, one in sorted(state.nbp_pins.items(), key=lambda item: _place(item[0].scope)):
        nbps[nbp_key.scope][str(nbp_key.arch)] = one.nbp
    found = [
        f"{scope}: {_flow(sorted(many)) if len(many) > 1 else many[0]}"
        for scope, many in pins.items()
    ]
    programs = [f"{scope}: {_flow(names)}" for scope, names in nbps.items()]
    return _section("pins", found), _section("nbp_pins", programs)


def _place(scope: Scope) -> tuple[int, list[str | int]]:
    order = ("site", "role", "rack", "node")
    return order.index(scope.kind), natural(scope.name)


def natural(name: str) -> list[str | int]:
    """Return a key by which ``n2`` comes before ``n10``."""
    parts = re.split(r"(\d+)", name)
    # a name has 63 characters, and what other systems call one is not to be more than int() takes
    return [int(part[:63]) if place % 2 else part for place, part in enumerate(parts)]


def _section(name: str, lines: Iterable[str]) -> list[str]:
    found = [f"  {line}" for line in lines]
    return [f"{name}:", *found] if found else [f"{name}: {{}}"]


def _roles(state: DesiredState) -> list[str]:
    lines = []
    for name, role in sorted(state.roles.items()):
        fields = {"image": role.image}
        if role.kernel_args:
            fields["kernel_args"] = role.kernel_args
        lines.append(f"{_key(name)}: {_flow(fields)}")
    return _section("roles", lines)


def _racks(state: DesiredState) -> list[str]:
    by_rack: dict[str, list[Node]] = defaultdict(list)
    for node in state.nodes.values():
        if node.rack:
            by_rack[node.rack].append(node)
    lines = []
    for name in sorted(by_rack.keys() | state.racks.keys(), key=natural):
        rack = state.racks.get(name)
        lines.append(f"{_key(name)}:")
        if rack is not None:
            lines.append(f"  kernel_args: {_scalar(rack.kernel_args)}")
        if name in by_rack:
            lines += [f"  {line}" for line in _rack_nodes(by_rack[name])]
    return _section("racks", lines)


def _rack_nodes(nodes: Sequence[Node]) -> Iterator[str]:
    written = {node.name: _fields(node) for node in nodes}
    common = _common(list(written.values()))
    if common:
        yield f"defaults: {_flow(common)}"
    yield "nodes:"
    for line in _entries(nodes, {name: _less(one, common) for name, one in written.items()}):
        yield f"  {line}"


def _loose_nodes(state: DesiredState) -> list[str]:
    nodes = [node for node in state.nodes.values() if not node.rack]
    return _section("nodes", _entries(nodes, {node.name: _fields(node) for node in nodes}))


def _fields(node: Node) -> Fields:
    found = node_document(node)
    del found["macs"]
    found.pop("rack", None)
    return found


def _common(all_fields: Sequence[Fields]) -> Fields:
    """Return the settings that most of these nodes have, and the labels that all have."""
    half = len(all_fields) / 2
    found: Fields = {}
    for name in ("role", "arch", "image", "kernel_args", "boot", "nbp", "shape"):
        counts = Counter(fields[name] for fields in all_fields if name in fields)
        if counts:
            value, count = counts.most_common(1)[0]
            if count > half and len(all_fields) > 1:
                found[name] = value
    first: Mapping[str, str] = all_fields[0].get("labels", {})
    shared = {
        key: value
        for key, value in first.items()
        if all(fields.get("labels", {}).get(key) == value for fields in all_fields)
    }
    if shared and len(all_fields) > 1:
        found["labels"] = shared
    return found


_WORTH = 4
"""Entries of fewer nodes than this, on average, are no shorter than a line for each node."""
_DEFAULTS = {"arch": "amd64", "boot": "network", "shape": "auto"}


def _less(fields: Fields, common: Fields) -> Fields:
    """Return what is to be said of a node whose rack says ``common``."""
    found = {k: v for k, v in fields.items() if k != "labels" and common.get(k) != v}
    for name in common:
        if name not in fields and name != "labels":
            found[name] = _DEFAULTS.get(name, "")
    shared = common.get("labels", {})
    labels = {k: v for k, v in fields.get("labels", {}).items() if k not in shared}
    if labels:
        found["labels"] = labels
    return found


@dataclass(frozen=True, slots=True)
class _Run:
    """Nodes that one entry may stand for: like settings, names that count up."""

    nodes: Sequence[Node]
    fields: Fields
    head: str = ""
    width: int = 0
    tail: str = ""

    @property
    def hosts(self) -> str:
        """The host list that stands for the nodes."""
        if len(self.nodes) == 1:
            return self.nodes[0].name
        end = -len(self.tail) or None
        numbers = [int(node.name[len(self.head) : end]) for node in self.nodes]
        return f"{self.head}{fold(numbers, lambda n: str(n).zfill(self.width))}{self.tail}"


def _entries(nodes: Sequence[Node], fields: Mapping[str, Fields]) -> Iterator[str]:
    varying = _varying(list(fields.values()))
    entries: list[Entry] = []
    for run in _runs(nodes, fields, varying):
        entries += _written(run, fields, varying)
    for _, lines in sorted(entries):
        yield from lines


def _varying(all_fields: Sequence[Fields]) -> frozenset[str]:
    """Return the labels that tell nodes apart: most of their values are of one node only."""
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for fields in all_fields:
        for key, value in fields.get("labels", {}).items():
            values[key][value] += 1
    return frozenset(
        key
        for key, counts in values.items()
        if len(counts) > 1 and 2 * len(counts) > counts.total()
    )


def _runs(
    nodes: Sequence[Node], fields: Mapping[str, Fields], varying: frozenset[str]
) -> Iterator[_Run]:
    alike: dict[Any, list[tuple[int, Node]]] = defaultdict(list)
    padded = {
        (parts[0], parts[3], parts[2])
        for parts in (split_name(node.name) for node in nodes)
        if parts and parts[2]
    }
    for node in nodes:
        parts = split_name(node.name)
        if parts is None:
            yield _Run([node], fields[node.name])
            continue
        head, number, _, tail = parts
        width = len(node.name) - len(head) - len(tail)
        width = width if (head, tail, width) in padded else 0
        like = _likeness(fields[node.name], varying)
        alike[head, tail, width, len(node.macs), like].append((number, node))
    for (head, tail, width, _, _), members in alike.items():
        members.sort(key=lambda one: one[0])
        found = [node for _, node in members]
        yield _Run(found, fields[found[0].name], head, width, tail)


def _likeness(fields: Fields, varying: frozenset[str]) -> str:
    labels = {k: "" if k in varying else v for k, v in fields.get("labels", {}).items()}
    return json.dumps({**fields, "labels": labels}, sort_keys=True)


def _written(run: _Run, fields: Mapping[str, Fields], varying: frozenset[str]) -> Iterator[Entry]:
    """Yield the entries of ``run``, each with what it is sorted by."""
    pieces = list(_pieces(run.nodes)) if len(run.nodes) > 1 else []
    if 1 < len(pieces) <= len(run.nodes) / _WORTH:
        for piece in pieces:
            yield from _written(replace(run, nodes=piece), fields, varying)
        return
    if len(run.nodes) > 1:
        lines = _list_entry(run, fields, varying)
        if lines is not None:
            yield natural(run.nodes[0].name), lines
            return
    for node in run.nodes:
        one = {"macs": list(node.macs) if len(node.macs) > 1 else node.macs[0]}
        yield natural(node.name), [f"{_key(node.name)}: {_flow({**one, **fields[node.name]})}"]


def _pieces(nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """Yield ``nodes`` in pieces whose MAC addresses count along with them, as far as they do."""
    piece: list[Node] = [nodes[0]]
    steps: tuple[int, ...] = ()
    for before, node in pairwise(nodes):
        found = tuple(
            mac_number(new) - mac_number(old)
            for old, new in zip(before.macs, node.macs, strict=True)
        )
        if (not steps or found == steps) and all(1 <= step <= MAX_STEP for step in found):
            piece.append(node)
            steps = found
            continue
        yield piece
        piece, steps = [node], ()
    yield piece


def _list_entry(
    run: _Run, fields: Mapping[str, Fields], varying: frozenset[str]
) -> list[str] | None:
    """Return the lines of one entry for all of ``run``; None when none is shorter than many."""
    labels = dict(run.fields.get("labels", {}))
    each = {}
    for key in sorted(varying & labels.keys()):
        pattern = fold_names([fields[node.name]["labels"][key] for node in run.nodes])
        if pattern is None:
            return None
        each[key] = pattern
        del labels[key]
    rest = {name: value for name, value in run.fields.items() if name != "labels"}
    if labels:
        rest["labels"] = labels
    macs = _mac_lines(run.nodes, worth=bool(rest or each))
    if macs is None:
        return None
    lines = [f"{_key(run.hosts)}:", *macs]
    lines += [f"  {name}: {_value(value)}" for name, value in rest.items()]
    if each:
        lines.append("  each:")
        lines += [f"    {_key(key)}: {_scalar(value, _PATTERN)}" for key, value in each.items()]
    return lines


def _mac_lines(nodes: Sequence[Node], *, worth: bool) -> list[str] | None:
    columns = list(zip(*(node.macs for node in nodes), strict=True))
    patterns = [fold_macs(column) for column in columns]
    if all(patterns):
        texts = [_scalar(str(one), _PATTERN) for one in patterns]
        if len(texts) == 1:
            return [f"  macs: {texts[0]}"]
        return ["  macs:", *(f"    - {text}" for text in texts)]
    if not worth:
        return None
    lines = ["  macs:"]
    for node in nodes:
        macs = list(node.macs) if len(node.macs) > 1 else node.macs[0]
        lines.append(f"    {_key(node.name)}: {_value(macs)}")
    return lines


def _value(value: Any) -> str:
    return _scalar(value) if isinstance(value, str) else _flow(value)


def _flow(value: Any) -> str:
    """Return a list or mapping on one line."""
    match value:
        case str():
            return _scalar(value)
        case list():
            return f"[{', '.join(_flow(one) for one in value)}]"
        case _:
            pairs = (f"{_scalar(name)}: {_flow(one)}" for name, one in value.items())
            return f"{{{', '.join(pairs)}}}"


def _key(name: str) -> str:
    return _scalar(name, _PATTERN)


def _scalar(text: str, plain: re.Pattern[str] = _PLAIN) -> str:
    """Return ``text`` as YAML, quoted when any reader of YAML could take it for something else."""
    if (
        plain.fullmatch(text)
        and text[0] not in "[],=+-"
        and not text.endswith(":")
        and text.lower() not in _WORDS
        and not re.fullmatch(r"[\d_]*(e\d*|0x[0-9a-f]*|0o[0-7]*)?", text.lower())
        and _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) == "tag:yaml.org,2002:str"
    ):
        return text
    return json.dumps(text, ensure_ascii=False)
