"""How much may be sent to an address that has not answered.

A request's source address is easily forged, and a reply is larger than a request. So an address
gets at most three datagrams until it has answered one, whatever is asked in its name, from however
many ports and for however long. RFC 9000 section 8.1 has the same idea. An answer is an
acknowledgement, or the ERROR by which a firmware that asked for a file's size takes leave.

Three are enough for a firmware that is there: it asks again for half a minute, from one port or
from several. Where all three are lost, for a link that is down or loses what is large, time does
not make good for that, since a forger has time as well. A start of the machine does: a known node
that was offered its NBP and then asks a DHCP server for that address gets another three. Who can
forge that, in a known node's name and up to this server's port 67, gains three datagrams now and
then: the pause between two such chances doubles each time in vain, up to ten minutes.

What this cannot stop is a forger who guesses the answers too: an acknowledgement in the name of an
address is taken for its own, and a whole window follows. A port of its own for each transfer would
make that hard (RFC 1350 section 4), at the price told in :mod:`.tftp`; forged source addresses must
be kept off the provisioning network by its switches and routers. When the table is full
the address that came first is forgotten: to have one forgotten takes as many requests as the table
has places.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["ReplyBudget"]


@dataclass(slots=True)
class _Spent:
    """The datagrams ``sent`` to an address since ``since``.

    ``again`` is whether its machine has started anew, for which it gets more once ``pause`` seconds
    have passed.
    """

    since: float
    pause: float
    sent: int = 0
    again: bool = False


class ReplyBudget:
    """Counts the ``datagrams`` sent to each address since it last answered.

    An address that answered is trusted for ``trust`` seconds. One whose machine starts anew may be
    sent as many again, but not within ``pause`` seconds of the first; each time in vain the pause
    takes twice as long, up to ``trust``. At most ``remembered`` addresses are kept of each kind.
    """

    def __init__(
        self,
        *,
        datagrams: int = 3,
        pause: float = 15.0,
        trust: float = 600.0,
        remembered: int = 16384,
    ) -> None:
        self._datagrams = datagrams
        self._pause = pause
        self._trust = trust
        self._remembered = remembered
        self._spent: OrderedDict[str, _Spent] = OrderedDict()
        self._trusted: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._spent) + len(self._trusted)

    def spend(self, address: str, now: float) -> bool:
        """Return whether one more datagram may go to ``address``, and count it if so."""
        if self._is_trusted(address, now):
            return True
        spent = self._spent.get(address)
        if spent is None:
            spent = self._spent[address] = _Spent(now, self._pause)
            if len(self._spent) > self._remembered:
                self._spent.popitem(last=False)
        elif spent.again and now - spent.since >= spent.pause:
            spent.sent, spent.again = 0, False
            spent.since, spent.pause = now, min(2 * spent.pause, self._trust)
        if spent.sent >= self._datagrams:
            return False
        spent.sent += 1
        return True

    def again(self, address: str) -> None:
        """Note that the machine at ``address`` starts anew: it may get another chance."""
        spent = self._spent.get(address)
        if spent is not None:
            spent.again = True

    def answered(self, address: str, now: float) -> bool:
        """Note an answer from ``address``; return whether its budget had been used up."""
        spent = self._spent.pop(address, None)
        self._trusted[address] = now
        self._trusted.move_to_end(address)
        if len(self._trusted) > self._remembered:
            self._trusted.popitem(last=False)
        return spent is not None and spent.sent >= self._datagrams

    def _is_trusted(self, address: str, now: float) -> bool:
        since = self._trusted.get(address)
        if since is not None and now - since < self._trust:
            return True
        self._trusted.pop(address, None)
        return False
