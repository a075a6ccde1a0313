"""How much may be sent to an address that has not answered, and what an answer is worth.

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

A forger who answers in the name of the address as well has to know where to. So only what comes to
a port that a transfer has to itself, and that nobody can foresee, is an answer. Each is worth some
megabytes of credit, about what it takes to send an answer to all ports that it may be. Out of the
credit goes what else is sent to the address: further first replies, and transfers that leave from
the port which all know. Those serve many clients in one call, and earn nothing. OVMF's question
for the size brings its NBP that way. docs/decisions/0009-a-transfer-has-a-port-to-itself.md has
the arithmetic.

When the table is full the address that came first is forgotten: to have one forgotten takes as many
requests as the table has places.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["WORTH", "ReplyBudget"]

WORTH = 3 << 20
"""Bytes of credit for an answer: room for an NBP and for half of it to be lost."""
_GREATEST_CREDIT = 64 << 20
_SPARE = 256 << 10
"""Bytes of credit that must be left when a transfer begins, for what of it is lost."""


@dataclass(slots=True)
class _Trust:
    """What an address may be sent, in bytes, that answered last at ``since``."""

    since: float
    credit: int


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
    """Counts the ``datagrams`` sent to each address that has no credit, and the bytes to others.

    Credit is good for ``trust`` seconds after the last answer. An address whose machine starts anew
    may be sent as many datagrams again, but not within ``pause`` seconds of the first; each time in
    vain the pause takes twice as long, up to ``trust``. At most ``remembered`` addresses are kept
    of each kind.
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

    def spend(self, address: str, size: int, now: float) -> bool:
        """Return whether one more datagram, of ``size`` bytes, may go to ``address``; count it."""
        if self._trust_of(address, now) is not None and self.pay(address, size):
            return True
        spent = self._spent.get(address)
        if spent is None:
            spent = self._spent[address] = _Spent(now, self._pause)
            if len(self._spent) > self._remembered:
                self._spent.popitem(last=False)
        if spent.again and now - spent.since >= spent.pause:
            spent.sent, spent.again = 0, False
            spent.since, spent.pause = now, min(2 * spent.pause, self._trust)
        if spent.sent >= self._datagrams:
            return False
        spent.sent += 1
        return True

    def pay(self, address: str, size: int) -> bool:
        """Return whether ``address`` has credit for ``size`` bytes; take them from it if so.

        However old it is: what goes there began in time.
        """
        trust = self._trusted.get(address)
        if trust is None or trust.credit < size:
            return False
        trust.credit -= size
        return True

    def lend(self, address: str, size: int, now: float) -> bool:
        """Return whether a file of ``size`` bytes may go to ``address`` from the port that all
        know, and take it from the credit if so: there must be some left for what is lost."""
        trust = self._trust_of(address, now)
        return trust is not None and trust.credit >= size + _SPARE and self.pay(address, size)

    def give_back(self, address: str, size: int) -> None:
        """Note that the file of ``size`` bytes that was lent to ``address`` was not sent at all."""
        trust = self._trusted.get(address)
        if trust is not None:
            trust.credit = min(trust.credit + size, _GREATEST_CREDIT)

    def again(self, address: str) -> None:
        """Note that the machine at ``address`` starts anew: it may get another chance."""
        spent = self._spent.get(address)
        if spent is not None:
            spent.again = True

    def answered(self, address: str, now: float, times: int = 1) -> bool:
        """Note answers from ``address``; return whether its budget had been used up."""
        spent = self._spent.pop(address, None)
        trust = self._trust_of(address, now)
        credit = times * WORTH + (0 if trust is None else trust.credit)
        self._trusted[address] = _Trust(now, min(credit, _GREATEST_CREDIT))
        self._trusted.move_to_end(address)
        if len(self._trusted) > self._remembered:
            self._trusted.popitem(last=False)
        return spent is not None and spent.sent >= self._datagrams

    def _trust_of(self, address: str, now: float) -> _Trust | None:
        trust = self._trusted.get(address)
        return None if trust is None or now - trust.since >= self._trust else trust
