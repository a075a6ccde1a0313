"""Offers made once, kept as forms: machines of one make ask in the same bytes but for a few.

A DISCOVER is looked up without what differs between machines of one kind (xid, seconds, the NIC's
half of its MAC, UUID, and the MAC in option 61); the answer found is filled in with them. A form
is kept only after it was compared with what :func:`bootserve.core.offers.decide` says to another
machine of that kind, so that what it gives is what that would give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bootserve.core.offers import Destination, PinnedNbp, Reply
from bootserve.core.quirks import Advice
from bootserve.model.names import Mac
from bootserve.model.shape import Shape
from bootserve.wire.dhcp import NO_ADDRESS, MessageType
from bootserve.wire.pxe import PxeClient

__all__ = ["Asked", "Form", "Kind", "OfferForms", "Settled", "read"]

_OPTIONS: Final = 240
_UUID: Final = b"\x61\x11\x00"  # option 97: 17 bytes, of which the first is 0
_PAD, _END, _CLIENT_ID, _UUID_CODE = 0, 255, 61, 97
_KINDS: Final = 512
_FORMS: Final = 64
_XID, _MAC, _UUID_VALUE, _DASHED = range(4)


Settled = tuple[str, PinnedNbp | None, Shape | None]
"""What is set of a node that its offer is made of: its NBP, the one pinned, and the shape."""


class Asked(NamedTuple):
    """A DISCOVER taken apart: ``key`` is the same for all machines of one kind.

    ``chaddr`` is the MAC, ``uuid`` and ``client_id`` where the UUID and the MAC in option 61 are,
    -1 for nowhere.
    """

    key: tuple[int, int, bytes]
    chaddr: bytes
    uuid: int
    client_id: int


@dataclass(frozen=True, slots=True)
class Form:
    """An offer with places; ``order`` says what goes into them."""

    template: bytes
    order: tuple[int, ...]

    def fill(self, data: bytes, asked: Asked, mac: Mac) -> bytes:
        """Return the offer to the machine that sent ``data``."""
        at = asked.uuid
        if self.order == (_XID, _MAC, _UUID_VALUE):  # UEFI's and BIOS' own clients
            return self.template % (data[4:8], asked.chaddr, data[at : at + 16])
        values = (data[4:8], asked.chaddr, data[at : at + 16], mac.replace(":", "-").encode())
        return self.template % tuple([values[one] for one in self.order])


@dataclass(slots=True)
class Kind:
    """Machines that ask in the same words: how they are described, and the forms made for them.

    ``forms`` is by what is set of a node; ``has_shape`` says whether there are two shapes for it.
    Without, the shape is None.
    """

    client: PxeClient
    advice: Advice
    has_shape: bool
    is_ipxe: bool
    forms: dict[Settled, tuple[Form, str]] = field(default_factory=dict)


def read(data: bytes) -> Asked:
    """Take a datagram of at least 240 bytes apart; it need not be a DHCP message."""
    chaddr = data[28:34]
    uuid = data.find(_UUID, _OPTIONS)
    mac = data.find(chaddr, _OPTIONS)
    if uuid < 0:
        rest = data[34:] if mac < 0 else data[34:mac] + data[mac + 6 :]
        return Asked((-1, mac, data[:4] + data[10:31] + rest), chaddr, -1, mac)
    value = uuid + 3
    if value - 6 < mac < value + 16:  # many a UUID ends with the machine's MAC
        mac = data.find(chaddr, value + 16)
    if mac < 0:
        rest = data[34:value] + data[value + 16 :]
    elif mac < value:
        rest = data[34:mac] + data[mac + 6 : value] + data[value + 16 :]
    else:
        rest = data[34:value] + data[value + 16 : mac] + data[mac + 6 :]
    return Asked((value, mac, data[:4] + data[10:31] + rest), chaddr, value, mac)


class OfferForms:
    """The kinds of machine that asked and what they were offered; bounded.

    A kind is told by the words it asks in and by its NIC's ``bus_id``, where that is known and a
    quirk names it; else that is empty.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, tuple[int, int, bytes]], Kind] = {}

    def find(self, asked: Asked, bus_id: str) -> Kind | None:
        """Return the kind of the machine, when one like it was answered before."""
        return self._kinds.get((bus_id, asked.key))

    def clear(self) -> None:
        """Forget all of it, since something that the offers are made of has changed."""
        self._kinds.clear()

    def keep(
        self,
        data: bytes,
        bus_id: str,
        reply: Reply,
        kind: Kind,
        settled: Settled,
        again: Callable[[bytes], bytes],
    ) -> None:
        """Make a form of the ``reply`` to ``data``, if it is one that can be made.

        ``again`` answers another DISCOVER as decide does, with the same ``settled``, or returns
        nothing.
        """
        if len(data) <= _OPTIONS or not _is_plain(reply):
            return
        asked = read(data)
        other = _another(data, asked)
        if other is None:
            return
        form = _form(reply, data, asked)
        answered = again(other)
        seen = read(other)
        mac = seen.chaddr.hex(":")
        if seen.key != asked.key or form.fill(other, seen, mac) != answered:
            return
        if len(self._kinds) >= _KINDS:
            self._kinds.clear()
        kept = self._kinds.setdefault((bus_id, asked.key), kind)
        if len(kept.forms) >= _FORMS:
            kept.forms.clear()
        kept.forms[settled] = form, reply.what


def _is_plain(reply: Reply) -> bool:
    """Whether ``reply`` is an OFFER by broadcast to a machine that says no more than is usual."""
    packet = reply.packet
    return (
        reply.destination is Destination.BROADCAST
        and packet.message_type == MessageType.DISCOVER
        and packet.giaddr == NO_ADDRESS
        and len(packet.chaddr) == 6
        and len(packet.options.get(_UUID_CODE, b"")) in (0, 17)
    )


def _another(data: bytes, asked: Asked) -> bytes | None:
    """Return what another machine of this kind would send; None when that cannot be told.

    What is left out of the key must be the value of option 97 and part of option 61's.
    """
    values = _values(data)
    uuid, client_id = asked.uuid, asked.client_id
    if (_UUID_CODE in values) != (uuid >= 0):
        return None
    if uuid >= 0 and values[_UUID_CODE] != (uuid - 1, uuid + 16):
        return None
    if client_id >= 0:
        start, end = values.get(_CLIENT_ID, (0, 0))
        if not start <= client_id <= end - 6:
            return None
    other = bytearray(data)
    low = bytes(byte ^ 0x5A for byte in data[31:34])
    other[4:8] = bytes(byte ^ 0xA5 for byte in data[4:8])
    other[31:34] = low
    if uuid >= 0:
        other[uuid : uuid + 16] = bytes(byte ^ 0xC3 for byte in data[uuid : uuid + 16])
    if client_id >= 0:
        other[client_id : client_id + 6] = data[28:31] + low
    return bytes(other)


def _values(data: bytes) -> dict[int, tuple[int, int]]:
    """Return where the value of each option is, its last piece; as the codec reads them."""
    found: dict[int, tuple[int, int]] = {}
    at = _OPTIONS
    while at + 1 < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        found[data[at]] = at + 2, at + 2 + data[at + 1]
        at += 2 + data[at + 1]
    return found


def _form(reply: Reply, data: bytes, asked: Asked) -> Form:
    answer = reply.data
    places = [(4, 8, _XID), (28, 34, _MAC)]
    if asked.uuid >= 0:
        value = answer.find(_UUID + data[asked.uuid : asked.uuid + 16], _OPTIONS)
        if value >= 0:
            places.append((value + 3, value + 19, _UUID_VALUE))
    dashed = reply.client.mac.replace(":", "-").encode()
    at = answer.find(dashed)
    while at >= 0:
        places.append((at, at + len(dashed), _DASHED))
        at = answer.find(dashed, at + len(dashed))
    template, last = b"", 0
    for start, end, _ in sorted(places):
        template += answer[last:start].replace(b"%", b"%%") + b"%b"
        last = end
    return Form(
        template + answer[last:].replace(b"%", b"%%"), tuple(what for *_, what in sorted(places))
    )
