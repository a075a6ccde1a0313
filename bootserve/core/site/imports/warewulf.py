"""Warewulf 4: ``nodes.conf``, with its profiles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bootserve.core.site.imports.draft import Draft, Where, parse_address, slug
from bootserve.core.site.reading import Read, read_yaml
from bootserve.errors import InvalidInput
from bootserve.model.desired import Role

__all__ = ["read_warewulf"]

Path = tuple[Any, ...]

_TRUE = ("true", "yes", "1")
_IMAGE = ("container name", "image name")
_KNOWN = frozenset(
    {"profiles", "network devices", "kernel", "comment", "tags", "primary network", *_IMAGE}
)
_KNOWN_KERNEL = frozenset({"args"})
_KNOWN_DEVICE = frozenset({"hwaddr", "ipaddr", "primary", "default", "device", "type", "onboot"})


def read_warewulf(draft: Draft, text: str, file: str) -> None:
    """Add the nodes of ``nodes.conf`` to ``draft``.

    A node's last profile becomes its role, whose image is named after the container (4.6: image);
    tags become labels, a tag ``rack`` the rack; the primary network device is the first NIC.
    Raises InvalidInput when it is no such file.
    """
    read = read_yaml(text, file)
    data = read.data if isinstance(read.data, dict) else {}
    if not isinstance(data.get("nodes"), dict):
        raise InvalidInput(f"{file}: this is no nodes.conf of Warewulf 4: it has no 'nodes'")
    _Warewulf(draft, read, data).all()


class _Warewulf:
    def __init__(self, draft: Draft, read: Read, data: Mapping[str, Any]) -> None:
        self._draft = draft
        self._read = read
        self._profiles = _mapping(data.get("nodeprofiles"))
        self._nodes = _mapping(data["nodes"])
        self._images: dict[str, list[str]] = defaultdict(list)

    def all(self) -> None:
        for name, profile in self._profiles.items():
            self._tell_lost(("nodeprofiles", name), f"profile {name}", _mapping(profile))
        for name, node in self._nodes.items():
            self._tell_lost(("nodes", name), f"node {name}", _mapping(node))
            self._node(name, _mapping(node))
        for role, images in self._images.items():
            usual = max(sorted(set(images)), key=images.count)
            self._draft.roles[role] = Role(role, usual)
        for name, node in self._draft.nodes.items():
            known = self._draft.roles.get(node.role)
            if known is not None and known.image == node.image:
                self._draft.nodes[name] = replace(node, image="")

    def _where(self, *path: Any) -> Where:
        return Where(self._read.name, self._read.line(path))

    def _node(self, name: str, node: Mapping[str, Any]) -> None:
        where = self._where("nodes", name)
        profiles = _texts(node.get("profiles"))
        merged: dict[str, Any] = {}
        for profile in profiles:
            if profile not in self._profiles:
                self._draft.note(where, f"node {name}: there is no profile {profile!r}")
            merged = _merged(merged, _mapping(self._profiles.get(profile)))
        merged = _merged(merged, node)
        macs, addresses = self._nics(where, merged)
        tags = {slug(key): str(value) for key, value in _mapping(merged.get("tags")).items()}
        image = next((str(merged[key]) for key in _IMAGE if merged.get(key)), "")
        role = profiles[-1] if profiles else ""
        self._draft.add(
            where,
            name,
            macs,
            addresses=addresses,
            rack=tags.pop("rack", ""),
            labels=tags,
            role=role,
            image=image,
            kernel_args=str(_mapping(merged.get("kernel")).get("args") or ""),
        )
        if image and role and slug(name) in self._draft.nodes:
            self._images[slug(role)].append(slug(image))

    def _nics(self, where: Where, merged: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        devices = _mapping(merged.get("network devices"))
        primary = str(merged.get("primary network") or "")

        def order(name: str) -> tuple[bool, bool]:
            flags = _mapping(devices[name])
            first = any(str(flags.get(one)).lower() in _TRUE for one in ("primary", "default"))
            return name != primary, not first

        macs, addresses = [], []
        for name in sorted(devices, key=order):
            device = _mapping(devices[name])
            found = self._draft.macs(where, [str(device["hwaddr"])] if device.get("hwaddr") else [])
            macs += found
            addresses += [self._address(where, device)] * len(found)
        return macs, addresses

    def _address(self, where: Where, device: Mapping[str, Any]) -> str:
        text = str(device.get("ipaddr") or "")
        try:
            return parse_address(text) if text else ""
        except InvalidInput as error:
            self._draft.note(where, f"{error}: not carried over")
            return ""

    def _tell_lost(self, path: Path, what: str, values: Mapping[str, Any]) -> None:
        """Say which fields of a profile or node are not carried over, each with its line."""
        self._lost(path, what, values, _KNOWN)
        self._lost((*path, "kernel"), what, _mapping(values.get("kernel")), _KNOWN_KERNEL)
        for name, device in _mapping(values.get("network devices")).items():
            place = (*path, "network devices", name)
            self._lost(place, f"{what}, {name}", _mapping(device), _KNOWN_DEVICE)

    def _lost(
        self, path: Path, what: str, values: Mapping[str, Any], known: frozenset[str]
    ) -> None:
        for key, value in values.items():
            if key not in known and value not in ("", {}, []):
                where = self._where(*path, key)
                self._draft.note(where, f"{what}: {key!r} is not carried over")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> list[str]:
    """Return a list of texts; one text alone is as good as a list of it."""
    return [str(one) for one in (value if isinstance(value, list) else [value]) if one]


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``over`` laid over ``under``: mappings are joined, all else is replaced."""
    found = dict(under)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = _merged(found[key], value)
        elif value not in ("", None):
            found[key] = value
    return found
