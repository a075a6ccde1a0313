"""The requests that wait until the content of their file is known."""

from __future__ import annotations

from collections import OrderedDict

from bootserve.wire.tftp_packets import Request

__all__ = ["WAIT_SECONDS", "Waiting"]

WAIT_SECONDS = 10.0
"""A request that is as old is forgotten: its client has asked again, or went away."""

_Client = tuple[str, int]
_Key = tuple[_Client, str]
"""A client, and the file that it asks for."""


class Waiting:
    """At most ``most`` requests, and at most ``most_of_address`` of one address.

    One too many takes the place of the oldest, which may wait for an answer that never comes.
    """

    def __init__(self, most: int, most_of_address: int) -> None:
        self._most = most
        self._most_of_address = most_of_address
        # Each in order of the requests: the first is the oldest.
        self._requests: OrderedDict[_Key, tuple[Request, float]] = OrderedDict()
        self._by_name: dict[str, dict[_Key, None]] = {}
        self._by_address: dict[str, dict[_Key, None]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._requests)

    def add(self, request: Request, client: _Client, now: float) -> None:
        """Keep ``request``, in place of one for that file that ``client`` sent before."""
        self._forget_old(now)
        key = client, request.filename
        if key in self._requests:
            self._forget(key)
        of_address = self._by_address.get(client[0], {})
        if len(of_address) >= self._most_of_address:
            self._forget(next(iter(of_address)))
        elif len(self._requests) >= self._most:
            self._forget(next(iter(self._requests)))
        self._requests[key] = request, now
        self._by_name.setdefault(request.filename, {})[key] = None
        self._by_address.setdefault(client[0], {})[key] = None

    def take(self, filename: str, now: float) -> list[tuple[Request, _Client]]:
        """Return, the oldest first, and forget the requests for ``filename``."""
        self._forget_old(now)
        keys = [*self._by_name.get(filename, ())]
        return [(self._forget(key), key[0]) for key in keys]

    def _forget_old(self, now: float) -> None:
        while self._requests:
            key = next(iter(self._requests))
            if now - self._requests[key][1] < WAIT_SECONDS:
                return
            self._forget(key)

    def _forget(self, key: _Key) -> Request:
        (address, _), filename = key
        request, _ = self._requests.pop(key)
        for table, part in ((self._by_name, filename), (self._by_address, address)):
            del table[part][key]
            if not table[part]:
                del table[part]
        return request
