"""From the text of a ``site.yaml`` to the desired state that it declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from bootserve.core.site.changes import NODE_READERS
from bootserve.core.site.patterns import expand, expand_macs
from bootserve.core.site.reading import Read, read_yaml
from bootserve.core.site.schema import NodeEntry, RackEntry, RoleEntry, Settings, SiteFile
from bootserve.errors import InvalidInput
from bootserve.model.desired import (
    DesiredState,
    NbpPin,
    NbpPinKey,
    Node,
    Pin,
    PinKey,
    Rack,
    Role,
    Scope,
    ScopeKind,
)
from bootserve.model.generation import GenerationRef
from bootserve.model.names import Mac, check_kernel_args, check_labels, check_name, parse_mac
from bootserve.model.nbp import check_nbp_name

__all__ = ["Site", "load_site"]

Path = tuple[Any, ...]

_SETTINGS = ("role", "arch", "image", "kernel_args", "boot", "nbp", "shape")


@dataclass(frozen=True, slots=True)
class Site:
    """What a file declares; None for a section that it leaves as it is."""

    nodes: Mapping[str, Node] | None = None
    roles: Mapping[str, Role] | None = None
    racks: Mapping[str, Rack] | None = None
    pins: Mapping[PinKey, Pin] | None = None
    nbp_pins: Mapping[NbpPinKey, NbpPin] | None = None

    def over(self, before: DesiredState) -> DesiredState:
        """Return the state to be, where ``before`` is: pins of nodes that go, go with them."""
        nodes = before.nodes if self.nodes is None else self.nodes
        pins = _of_nodes(before.pins, nodes) if self.pins is None else self.pins
        nbps = _of_nodes(before.nbp_pins, nodes) if self.nbp_pins is None else self.nbp_pins
        return DesiredState(
            nodes=nodes,
            roles=before.roles if self.roles is None else self.roles,
            racks=before.racks if self.racks is None else self.racks,
            pins=pins,
            nbp_pins=nbps,
        )


def _of_nodes(pins: Mapping[Any, Any], nodes: Mapping[str, Node]) -> dict[Any, Any]:
    return {
        key: pin
        for key, pin in pins.items()
        if key.scope.kind is not ScopeKind.NODE or key.scope.name in nodes
    }


def load_site(text: str, name: str) -> Site:
    """Return what the file ``name`` with this text declares.

    Raises InvalidInput that begins with the file and the line, for what is no YAML, an unknown
    field, a bad value, and a name or MAC address that is there twice.
    """
    read = read_yaml(text, name)
    if not isinstance(read.data, dict):
        raise InvalidInput(f"{name}: this is no site file", hint="See docs/site.md.")
    return _Loader(read, _validated(read)).site()


def _validated(read: Read) -> SiteFile:
    try:
        return SiteFile.model_validate(read.data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        worst = max(found, key=lambda one: len(one["loc"]))
        path = worst["loc"]
        field_name = str(path[-1])
        if worst["type"] == "extra_forbidden":
            where = ".".join(str(part) for part in path[:-1]) or "a site file"
            read.fail(path, f"{where} has no field {field_name[:60]!r}", _fields_hint(path[:-1]))
        if worst["type"] == "missing":
            read.fail(path, f"{'.'.join(map(str, path[:-1]))} needs {field_name!r}")
        if worst["type"] in ("model_type", "dict_type"):
            read.fail(path, f"{field_name[:60]} must be names with values, indented below it")
        message = worst["msg"].removeprefix("Input should be ")
        read.fail(path, f"{_shown(path)} should be {message}")


def _shown(path: Path) -> str:
    return ".".join(str(part) for part in path if not str(part).startswith(("list[", "dict[", "[")))


def _fields_hint(path: Path) -> str:
    """Return which fields there are where ``path`` leads to."""
    model: type[BaseModel] = SiteFile
    if path:
        model = Settings
        if path[-1] != "defaults":
            kinds: dict[str, type[BaseModel]] = {"racks": RackEntry, "roles": RoleEntry}
            model = kinds.get(str(path[0]), NodeEntry) if len(path) == 2 else NodeEntry
    return f"It may have {', '.join(model.model_fields)}."


@dataclass(slots=True)
class _Loader:
    read: Read
    file: SiteFile
    nodes: dict[str, Node] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    owners: dict[Mac, str] = field(default_factory=dict)

    def site(self) -> Site:
        file = self.file
        whole = file.racks is not None or file.nodes is not None
        if whole:
            self._all_nodes()
        return Site(
            nodes=self.nodes if whole else None,
            racks=self._racks() if whole else None,
            roles=None if file.roles is None else self._roles(),
            pins=None if file.pins is None else self._pins(),
            nbp_pins=None if file.nbp_pins is None else self._nbp_pins(),
        )

    def _fail(self, path: Path, message: str, hint: str = "") -> NoReturn:
        self.read.fail(path, message, hint)

    def _checked(self, path: Path, check: Any, *values: Any) -> Any:
        """Return ``check(*values)``, its error told with the place of ``path``."""
        try:
            return check(*values)
        except InvalidInput as error:
            self._fail(path, str(error), error.hint)

    def _racks(self) -> dict[str, Rack]:
        found = {}
        for name, rack in (self.file.racks or {}).items():
            if rack.kernel_args is not None:
                path = ("racks", name, "kernel_args")
                found[name] = Rack(name, self._checked(path, check_kernel_args, rack.kernel_args))
        return found

    def _roles(self) -> dict[str, Role]:
        found = {}
        for name, role in (self.file.roles or {}).items():
            path = ("roles", name)
            self._checked(path, check_name, name, "role name")
            if role.image:
                self._checked((*path, "image"), check_name, role.image, "image name")
            args = self._checked((*path, "kernel_args"), check_kernel_args, role.kernel_args or "")
            found[name] = Role(name, role.image, args)
        return found

    def _all_nodes(self) -> None:
        file = self.file
        common = self._settings(("defaults",), file.defaults)
        labels = self._labels(("defaults",), file.defaults)
        for name, rack in (file.racks or {}).items():
            path = ("racks", name)
            self._checked(path, check_name, name, "rack name")
            mine = {**common, **self._settings((*path, "defaults"), rack.defaults), "rack": name}
            tagged = {**labels, **self._labels((*path, "defaults"), rack.defaults)}
            for hosts, entry in rack.nodes.items():
                if entry.rack not in (None, name):
                    self._fail(
                        (*path, "nodes", hosts, "rack"),
                        f"it stands in rack {name}",
                        "Take 'rack' out.",
                    )
                self._add((*path, "nodes", hosts), hosts, entry, mine, tagged)
        for hosts, entry in (file.nodes or {}).items():
            mine = dict(common)
            if entry.rack:
                where = ("nodes", hosts, "rack")
                mine["rack"] = self._checked(where, check_name, entry.rack, "rack name")
            self._add(("nodes", hosts), hosts, entry, mine, labels)

    def _settings(self, path: Path, settings: Settings) -> dict[str, Any]:
        found = {}
        for name in _SETTINGS:
            value = getattr(settings, name)
            if value is not None:
                found[name] = self._checked((*path, name), NODE_READERS[name], value)
        return found

    def _labels(self, path: Path, settings: Settings) -> dict[str, str]:
        if not settings.labels:
            return {}
        return dict(self._checked((*path, "labels"), check_labels, settings.labels))

    def _add(
        self,
        path: Path,
        hosts: str,
        entry: NodeEntry,
        common: Mapping[str, Any],
        labels: Mapping[str, str],
    ) -> None:
        names = self._checked(path, expand, hosts)
        if not names:
            self._fail(path, "this names no node")
        settings = {**common, **self._settings(path, entry)}
        tagged = {**labels, **self._labels(path, entry)}
        template = Node("", (), labels=tuple(sorted(tagged.items())), **settings)
        macs = self._macs(path, entry, names)
        counted = self._counted(path, entry.each, len(names))
        for place, name in enumerate(names):
            self._checked(path, check_name, name, "node name")
            one = replace(template, name=name, macs=macs[place])
            if counted:
                values = {key: texts[place] for key, texts in counted.items()}
                merged = self._checked((*path, "each"), check_labels, {**tagged, **values})
                one = replace(one, labels=merged)
            self._put(path, one)

    def _put(self, path: Path, node: Node) -> None:
        if node.name in self.nodes:
            line = self.read.line(self.paths[node.name])
            self._fail(path, f"node {node.name} is there already, on line {line}")
        for mac in node.macs:
            owner = self.owners.setdefault(mac, node.name)
            if owner != node.name:
                line = self.read.line(self.paths[owner])
                self._fail((*path, "macs"), f"{mac} belongs to node {owner}, on line {line}")
        self.nodes[node.name], self.paths[node.name] = node, path

    def _counted(self, path: Path, each: Mapping[str, str], count: int) -> dict[str, list[str]]:
        found = {}
        for key, pattern in each.items():
            where = (*path, "each", key)
            found[key] = self._checked(where, expand, pattern)
            if len(found[key]) != count:
                self._fail(where, f"it has {len(found[key])} values for {_nodes(count)}")
        return found

    def _macs(self, path: Path, entry: NodeEntry, names: list[str]) -> list[tuple[Mac, ...]]:
        where = (*path, "macs")
        if isinstance(entry.macs, dict):
            return self._table(where, entry.macs, names)
        texts = [entry.macs] if isinstance(entry.macs, str) else entry.macs
        columns = [self._each_mac((*where, i), text) for i, text in enumerate(texts)]
        sizes = [len(column) for column in columns]
        if columns and all(size == len(names) for size in sizes):
            return [_once(column[place] for column in columns) for place in range(len(names))]
        if sum(sizes) != len(names):
            self._fail(
                where,
                f"{sum(sizes)} MAC addresses for {_nodes(len(names))}",
                "Each entry names one NIC of every node, or all entries together one NIC for each.",
            )
        return [(mac,) for column in columns for mac in column]

    def _each_mac(self, path: Path, pattern: str) -> list[Mac]:
        found = self._checked(path, expand_macs, pattern) if "[" in pattern else [pattern]
        return [self._checked(path, parse_mac, one) for one in found]

    def _table(
        self, where: Path, table: Mapping[str, str | list[str]], names: list[str]
    ) -> list[tuple[Mac, ...]]:
        for name in table:
            if name not in names:
                self._fail((*where, name), f"{name[:60]!r} is none of the nodes of this entry")
        found = []
        for name in names:
            if name not in table:
                self._fail(where, f"it lacks the MAC addresses of {name}")
            given = table[name]
            texts = [given] if isinstance(given, str) else given
            path = (*where, name)
            found.append(_once(self._checked(path, parse_mac, text) for text in texts))
            if not found[-1]:
                self._fail(path, f"node {name} has no MAC address")
        return found

    def _scope(self, path: Path, text: str) -> Scope:
        scope: Scope = self._checked(path, Scope.parse, text)
        if scope.kind is ScopeKind.NODE and self.file_has_nodes and scope.name not in self.nodes:
            self._fail(path, f"this file has no node {scope.name}")
        return scope

    @property
    def file_has_nodes(self) -> bool:
        """Whether the file names every node."""
        return self.file.racks is not None or self.file.nodes is not None

    def _pins(self) -> dict[PinKey, Pin]:
        found: dict[PinKey, Pin] = {}
        for text, generations in (self.file.pins or {}).items():
            scope = self._scope(("pins", text), text)
            for place, generation in enumerate(generations):
                path = ("pins", text, place)
                pin = Pin(scope, self._checked(path, GenerationRef.parse, generation))
                if pin.key in found:
                    self._fail(path, f"{scope} is pinned to {found[pin.key].generation} already")
                found[pin.key] = pin
        return found

    def _nbp_pins(self) -> dict[NbpPinKey, NbpPin]:
        found: dict[NbpPinKey, NbpPin] = {}
        for text, nbps in (self.file.nbp_pins or {}).items():
            path = ("nbp_pins", text)
            scope = self._scope(path, text)
            if scope.kind is ScopeKind.ROLE:
                self._fail(path, "an NBP is pinned at a node, a rack or the site")
            for arch, name in nbps.items():
                checked = self._checked((*path, arch), check_nbp_name, name, arch)
                pin = NbpPin(scope, arch, checked)
                if pin.key in found:
                    self._fail(path, f"{scope} has an NBP for {arch} already")
                found[pin.key] = pin
        return found


def _once(macs: Iterable[Mac]) -> tuple[Mac, ...]:
    return tuple(dict.fromkeys(macs))


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
