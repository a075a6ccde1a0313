"""How much may be sent to an address that has not answered.

A request's source address is easily forged, and a reply is larger than a request. So an address
gets at most three datagrams until it has acknowledged one, whatever is asked in its name and from
however many ports. RFC 9000 section 8.1 has the same idea.

What this cannot stop is a forger who guesses the acknowledgements too. A port of its own for each
transfer would make that hard (RFC 1350 section 4), at the price told in :mod:`.tftp`; forged source
addresses must be kept off the provisioning network by its switches and routers.
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["ReplyBudget"]


class ReplyBudget:
    """Counts the datagrams sent to each address since it last answered.

    An address that answered is trusted for ``trust`` seconds. One that did not is forgiven after
    ``forgive`` seconds, since firmware asks for half a minute and a node whose link was down must
    get another chance; each time in vain the next chance takes twice as long, up to ``trust``.
    At most ``remembered`` addresses are kept of each kind, the newest.
    """

    def __init__(
        self,
        *,
        datagrams: int = 3,
        forgive: float = 15.0,
        trust: float = 600.0,
        remembered: int = 16384,
    ) -> None:
        self._datagrams = datagrams
        self._forgive = forgive
        self._trust = trust
        self._remembered = remembered
        # Address to datagrams sent, since when, and seconds until it is forgiven.
        self._spent: OrderedDict[str, tuple[int, float, float]] = OrderedDict()
        self._trusted: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._spent) + len(self._trusted)

    def spend(self, address: str, now: float) -> bool:
        """Return whether one more datagram may go to ``address``, and count it if so."""
        if self._is_trusted(address, now):
            return True
        sent, since, pause = self._spent.get(address, (0, now, self._forgive))
        if now - since >= pause:
            sent, since, pause = 0, now, min(2 * pause, self._trust)
            self._spent.pop(address, None)
        if sent >= self._datagrams:
            return False
        self._spent[address] = (sent + 1, since, pause)
        if len(self._spent) > self._remembered:
            self._spent.popitem(last=False)
        return True

    def answered(self, address: str, now: float) -> bool:
        """Note an acknowledgement from ``address``; return whether its budget had been used up."""
        sent, _, _ = self._spent.pop(address, (0, now, 0.0))
        self._trusted[address] = now
        self._trusted.move_to_end(address)
        if len(self._trusted) > self._remembered:
            self._trusted.popitem(last=False)
        return sent >= self._datagrams

    def _is_trusted(self, address: str, now: float) -> bool:
        since = self._trusted.get(address)
        if since is not None and now - since < self._trust:
            return True
        self._trusted.pop(address, None)
        return False
