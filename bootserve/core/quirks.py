"""The table of firmware quirks: which clients need another offer than the default, and why."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from bootserve.errors import InvalidInput
from bootserve.model.names import Mac
from bootserve.model.shape import SHAPES, Shape
from bootserve.wire.pxe import ClientArch, PxeClient

__all__ = ["Advice", "Quirk", "QuirkTable", "parse_quirks"]


@dataclass(frozen=True, slots=True)
class Advice:
    """What a client is offered when nothing is set or learned; ``quirk`` says why, if it is one."""

    shape: Shape
    nbp: str = ""
    quirk: str = ""


@dataclass(frozen=True, slots=True)
class Quirk:
    """One entry; an empty condition holds for every client.

    Without a ``shape`` or ``nbp`` the default holds. ``ouis`` are written as in a MAC,
    ``bus_id`` is bare hex, as in IpxeFeatures. A NIC's bus id comes from the iPXE that speaks or,
    for a firmware, from one that spoke there before.
    """

    name: str
    source: str
    arches: tuple[ClientArch, ...] = ()
    vendor_class: str = ""
    bus_id: str = ""
    ouis: tuple[str, ...] = ()
    shape: Shape | None = None
    nbp: str = ""

    def applies(self, client: PxeClient, bus_id: str = "") -> bool:
        """Whether every condition holds for ``client``, whose NIC was told to have ``bus_id``."""
        if client.features is not None:
            bus_id = client.features.bus_id or bus_id
        return (
            (not self.arches or client.arch in self.arches)
            and client.vendor_class.startswith(self.vendor_class)
            and self._is_on(client.mac, bus_id)
        )

    def applies_to_all_of(self, mac: Mac, bus_id: str) -> bool:
        """Whether it applies to whatever client runs on this NIC."""
        return not self.arches and not self.vendor_class and self._is_on(mac, bus_id)

    def _is_on(self, mac: Mac, bus_id: str) -> bool:
        return self.bus_id in ("", bus_id) and (not self.ouis or mac.startswith(self.ouis))


class QuirkTable:
    """Entries in order: the first that applies to a client counts."""

    def __init__(self, quirks: Sequence[Quirk], default: Shape) -> None:
        self.quirks = tuple(quirks)
        self.default = Advice(default)
        self.bus_ids = frozenset(quirk.bus_id for quirk in quirks if quirk.bus_id)

    def advise(self, client: PxeClient, bus_id: str = "") -> Advice:
        """Return what ``client`` is offered when nothing is set or learned.

        ``bus_id`` is what an iPXE told of its NIC before; empty when none did.
        """
        return self._first(lambda quirk: quirk.applies(client, bus_id))

    def advise_nic(self, mac: Mac, bus_id: str = "") -> Advice:
        """Return what any client on the NIC ``mac`` is offered, as far as that can be foretold."""
        return self._first(lambda quirk: quirk.applies_to_all_of(mac, bus_id))

    def _first(self, applies: Callable[[Quirk], bool]) -> Advice:
        for quirk in self.quirks:
            if applies(quirk):
                shape = quirk.shape or self.default.shape
                return Advice(shape, quirk.nbp, f"{quirk.name}: {quirk.source}")
        return self.default


def parse_quirks(text: str, origin: str) -> tuple[Quirk, ...]:
    """Return the entries of a quirks file; ``origin`` is what errors call it.

    The format stands at the head of the shipped file, ``quirks.toml``. Raises InvalidInput that
    names the line.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{origin} is not TOML: {error}") from None
    entries = data.pop("quirk", [])
    if data or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        key = next(iter(data), "quirk")
        raise InvalidInput(
            f"{origin}, line {_line(text, 0, key)}: {key!r} is no [[quirk]]",
            hint="A quirks file holds [[quirk]] entries and nothing else.",
        )
    return tuple(_entry(entry, text, number, origin) for number, entry in enumerate(entries, 1))


def _entry(data: dict[str, Any], text: str, number: int, origin: str) -> Quirk:
    values: dict[str, Any] = {}
    for key, value in data.items():
        try:
            name, read = _KEYS[key]
            values[name] = read(value)
        except (KeyError, ValueError) as error:
            said = f"there is no key {key!r}" if key not in _KEYS else f"{key}: {error}"
            raise InvalidInput(
                f"{origin}, line {_line(text, number, key)}: {said}",
                hint=f"The keys of a quirk are {', '.join(_KEYS)}.",
            ) from None
    wanted = ("name", "source")
    missing = [key for key in wanted if not values.get(key)]
    if not missing and not (values.get("shape") or values.get("nbp")):
        missing = ["shape or nbp"]
    if not missing and not any(values.get(key) for key in _CONDITIONS):
        missing = ["condition (arch, vendor_class, bus_id or oui)"]
    if missing:
        line = _line(text, number, "")
        raise InvalidInput(f"{origin}, line {line}: this quirk has no {missing[0]}")
    return Quirk(**values)


def _line(text: str, number: int, key: str) -> int:
    """Return the line of ``key`` in the ``number``-th entry, or of its head."""
    entry = 0
    head = 1
    for at, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*\[\[\s*quirk\s*\]\]", line):
            entry += 1
            head = at if entry == number else head
        elif (
            entry == number and key and re.match(rf"\s*[\"']?{re.escape(key)}\b", line.lstrip("["))
        ):
            return at
    return head


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise ValueError("it must be a text that is not empty")
    return value


def _words(value: Any) -> list[str]:
    return [_word(one) for one in (value if isinstance(value, list) else [value])]


def _arches(value: Any) -> tuple[ClientArch, ...]:
    known = {str(arch): arch for arch in ClientArch}
    for word in _words(value):
        if word not in known:
            raise ValueError(f"{word!r} is none of {', '.join(known)}")
    return tuple(known[word] for word in _words(value))


def _bus_id(value: Any) -> str:
    digits = _word(value).replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{10}", digits):
        raise ValueError("it must be ten hex digits: type, vendor and device")
    return digits


def _ouis(value: Any) -> tuple[str, ...]:
    found = []
    for word in _words(value):
        digits = re.sub(r"[:.-]", "", word).lower()
        if not re.fullmatch(r"[0-9a-f]{6}", digits):
            raise ValueError(f"{word!r} is not the first three bytes of a MAC address")
        found.append(":".join(digits[at : at + 2] for at in (0, 2, 4)))
    return tuple(found)


def _shape(value: Any) -> Shape:
    if value not in SHAPES:
        raise ValueError(f"{value!r} is none of {', '.join(SHAPES)}")
    return cast(Shape, value)


def _nbp(value: Any) -> str:
    if "/" in _word(value):
        raise ValueError("give a file name in nbp_dir, not a path")
    return str(value)


_KEYS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "name": ("name", _word),
    "source": ("source", _word),
    "arch": ("arches", _arches),
    "vendor_class": ("vendor_class", _word),
    "bus_id": ("bus_id", _bus_id),
    "oui": ("ouis", _ouis),
    "shape": ("shape", _shape),
    "nbp": ("nbp", _nbp),
}
_CONDITIONS: Final = ("arches", "vendor_class", "bus_id", "ouis")
