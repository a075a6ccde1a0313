"""NetBox: its CSV exports and its API's JSON, of devices and of interfaces, in any order.

Devices: ``/api/dcim/devices/`` or the export of the devices' list. Interfaces, which have the MAC
addresses: ``/api/dcim/interfaces/`` or the export of theirs.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from bootserve.core.site.imports.draft import Draft, Where, parse_address
from bootserve.core.site.writing import natural
from bootserve.errors import InvalidInput

__all__ = ["NetBox"]

Row = tuple[Where, dict[str, str]]

_ALIASES = {
    "device_role": "role",
    "u_position": "position",
    "rack_position": "position",
    "primary_ipv4": "primary_ip4",
    "ipv4_address": "primary_ip4",
    "ip_address": "primary_ip4",
    "primary_mac_address": "mac_address",
    "mac": "mac_address",
    "management_only": "mgmt_only",
    "serial_number": "serial",
}
_TRUE = ("true", "yes", "1", "✔")


class NetBox:
    """Collects devices and interfaces from several files, then makes nodes of them."""

    def __init__(self) -> None:
        self._devices: list[Row] = []
        self._interfaces: dict[str, list[Row]] = {}

    def read(self, text: str, file: str) -> None:
        """Take a file; raises InvalidInput when it is none of NetBox' forms."""
        as_json = text.lstrip()[:1] in ("{", "[")
        rows = list(_from_json(text, file) if as_json else _from_csv(text, file))
        for where, row in rows:
            if "device" in row:
                self._interfaces.setdefault(row["device"], []).append((where, row))
            elif "name" in row:
                self._devices.append((where, row))
            else:
                raise InvalidInput(
                    f"{where}: this has neither a device nor a name",
                    hint="Export devices and interfaces, as CSV or from the API as JSON.",
                )

    def nodes(self, draft: Draft) -> None:
        """Add a node for each device that has an interface with a MAC address."""
        known = {row["name"] for _, row in self._devices}
        for device, rows in self._interfaces.items():
            if self._devices and device not in known:
                draft.note(rows[0][0], f"device {device!r} is not among the devices: left out")
        if not self._devices:
            for device, rows in self._interfaces.items():
                self._node(draft, rows[0][0], {"name": device})
        for where, row in self._devices:
            self._node(draft, where, row)

    def _node(self, draft: Draft, where: Where, row: Mapping[str, str]) -> None:
        name = row["name"]
        if not name:
            draft.note(where, "a device without a name: left out")
            return
        macs = self._macs(draft, name)
        if not macs:
            draft.note(where, f"device {name} has no interface with a MAC address: left out")
            return
        status = row.get("status", "")
        if status.lower() not in ("", "active"):
            draft.note(where, f"device {name} is {status.lower()} in NetBox, and a node here")
        labels = {key: row.get(key, "") for key in ("position", "site", "serial")}
        labels["position"] = labels["position"].removesuffix(".0")
        draft.add(
            where,
            name,
            macs,
            addresses=self._address(draft, where, row),
            labels=labels,
            rack=row.get("rack", ""),
            role=row.get("role", ""),
        )

    @staticmethod
    def _address(draft: Draft, where: Where, row: Mapping[str, str]) -> list[str]:
        text = row.get("primary_ip4", "")
        if not text:
            return []
        try:
            return [parse_address(text)]
        except InvalidInput as error:
            draft.note(where, f"{error}: not carried over")
            return []

    def _macs(self, draft: Draft, device: str) -> list[str]:
        found = []
        rows = sorted(
            self._interfaces.get(device, []), key=lambda one: natural(one[1].get("name", ""))
        )
        for where, row in rows:
            text = row.get("mac_address", "")
            if not text:
                continue
            if row.get("mgmt_only", "").lower() in _TRUE:
                draft.note(
                    where, f"{device} {row.get('name', '')} is for management only: left out"
                )
                continue
            found += draft.macs(where, [text])
        return found


def _from_csv(text: str, file: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=None))
    try:
        yield from _rows(reader, file)
    except csv.Error as error:
        raise InvalidInput(f"{file}:{reader.line_num}: this is no CSV: {error}") from None


def _rows(reader: Any, file: str) -> Iterator[Row]:
    header = [_key(name) for name in next(reader, [])]
    if not {"name", "device"} & set(header):
        raise InvalidInput(
            f"{file}: this is no export of NetBox: its first line names no column 'name'",
            hint="Export devices and interfaces, as CSV or from the API as JSON.",
        )
    for values in reader:
        if values:
            row = dict(zip(header, (value.strip() for value in values), strict=False))
            yield Where(file, reader.line_num), row


def _key(name: str) -> str:
    folded = name.strip().lower().replace(" ", "_")
    return _ALIASES.get(folded, folded)


def _from_json(text: str, file: str) -> Iterator[Row]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file}: this is no JSON: {error}") from None
    results = data.get("results") if isinstance(data, dict) else data
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        raise InvalidInput(f"{file}: this is no answer of NetBox: it has no 'results'")
    if isinstance(data, dict) and data.get("next"):
        raise InvalidInput(
            f"{file}: this is one page of several", hint="Ask NetBox with ?limit=0 for all of them."
        )
    for number, one in enumerate(results, 1):
        found = {_key(name): _plain(value) for name, value in one.items()}
        yield Where(f"{file} (result {number})"), found


def _plain(value: Any) -> str:
    """Return what NetBox says of a related object in one word: its name, address or value."""
    if isinstance(value, dict):
        keys = ("slug", "mac_address", "address", "value", "name", "display")
        value = next((value[key] for key in keys if value.get(key) is not None), None)
    return str(value) if isinstance(value, str | int | float) else ""
