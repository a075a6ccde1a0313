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

A forger who answers in the name of the address as well has to know where to: a transfer leaves from
a port that is drawn for it (RFC 1350 section 4). When the first acknowledgement comes to another
port, the transfer ends and nothing more goes to that address. So he has one guess for each address,
and is not told whether it was right. (One that comes later to another port is nobody's, and harms
no client.) An address is sent windows of two blocks at most, until it has fetched two files to
their ends from drawn ports. Then it is proven for a while: its transfers have the one port that all
know, which is faster, and prove nothing more. On the whole a forger brings about as many bytes as
he sends: docs/decisions/0009-a-transfer-draws-its-port.md.

When the table is full the address that came first is forgotten: to have one forgotten takes as many
requests as the table has places.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["PROOFS", "ReplyBudget"]

PROOFS = 2
"""By luck a forger completes one transfer of as many as there are ports, too often for one to be a
proof where a megabyte may follow for a dozen datagrams."""


@dataclass(slots=True)
class _Trust:
    """Given to an address at ``since``, which has fetched so many files to their ends."""

    since: float
    fetched: int = 0


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
        self._trusted: OrderedDict[str, _Trust] = OrderedDict()

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._spent) + len(self._trusted)

    def spend(self, address: str, now: float) -> bool:
        """Return whether one more datagram may go to ``address``, and count it if so."""
        if self._trust_of(address, now) is not None:
            return True
        spent = self._spent_of(address, now)
        if spent.again and now - spent.since >= spent.pause:
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
        trust = self._trust_of(address, now)
        self._trusted[address] = _Trust(now, 0 if trust is None else trust.fetched)
        self._trusted.move_to_end(address)
        if len(self._trusted) > self._remembered:
            self._trusted.popitem(last=False)
        return spent is not None and spent.sent >= self._datagrams

    def completed(self, address: str, now: float) -> None:
        """Note that ``address`` fetched a file to its end, from a port that was drawn."""
        self.answered(address, now)
        self._trusted[address].fetched += 1

    def is_proven(self, address: str, now: float) -> bool:
        """Return whether ``address`` is trusted and has fetched as much as proves it."""
        trust = self._trust_of(address, now)
        return trust is not None and trust.fetched >= PROOFS

    def forged(self, address: str, now: float) -> None:
        """Note that somebody answers in the name of ``address`` who does not get what it is sent.

        It is not trusted any more, and gets nothing until its machine starts anew.
        """
        self._trusted.pop(address, None)
        self._spent_of(address, now).sent = self._datagrams

    def _spent_of(self, address: str, now: float) -> _Spent:
        spent = self._spent.get(address)
        if spent is None:
            spent = self._spent[address] = _Spent(now, self._pause)
            if len(self._spent) > self._remembered:
                self._spent.popitem(last=False)
        return spent

    def _trust_of(self, address: str, now: float) -> _Trust | None:
        trust = self._trusted.get(address)
        if trust is not None and now - trust.since >= self._trust:
            del self._trusted[address]
            return None
        return trust
