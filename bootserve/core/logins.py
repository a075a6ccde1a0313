"""How many failed logins are borne: from each address, and for each subject.

A bucket for each holds ``BURST`` failures and gains one every ``SECONDS_EACH``. An empty one makes
its address wait. A subject's bucket counts only against an address that has itself failed lately:
otherwise anybody could lock a subject out from afar. Tokens are 256 random bits, so this is no
guard against guessing, and a good one need not wait; it keeps a broken client from filling the
log, and a forger from making the server verify signatures without end.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["BURST", "SECONDS_EACH", "LoginLimits"]

BURST = 10
SECONDS_EACH = 6.0
MAX_BUCKETS = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    told: bool = False

    def refill(self, now: float) -> None:
        self.left = min(BURST, self.left + max(0.0, now - self.at) / SECONDS_EACH)
        self.at = now
        self.told = self.told and self.left < BURST / 2


class LoginLimits:
    """The buckets; at most ``most`` of each kind, those that failed longest ago forgotten first.

    ``now`` is monotonic seconds everywhere.
    """

    def __init__(self, *, most: int = MAX_BUCKETS) -> None:
        self._most = most
        self._addresses: OrderedDict[str, _Bucket] = OrderedDict()
        self._subjects: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, address: str, subject: str, now: float) -> float:
        """Return how many seconds a login of ``subject`` from ``address`` must wait; 0 for none."""
        own = self._addresses.get(address)
        if own is None:
            return 0.0
        buckets = [own]
        if (other := self._subjects.get(subject)) is not None:
            buckets.append(other)
        for bucket in buckets:
            bucket.refill(now)
        if own.left >= BURST:
            del self._addresses[address]
            return 0.0
        return max(0.0, *((1.0 - bucket.left) * SECONDS_EACH for bucket in buckets))

    def failed(self, address: str, subject: str, now: float) -> bool:
        """Count a failed login; True when ``address`` must wait from now on.

        It is so once, until the address has been quiet for half a bucket's time.
        """
        bucket = self._take(self._addresses, address, now)
        self._take(self._subjects, subject, now)
        tell = bucket.left < 1.0 and not bucket.told
        bucket.told = bucket.told or tell
        return tell

    def _take(self, buckets: OrderedDict[str, _Bucket], name: str, now: float) -> _Bucket:
        bucket = buckets.pop(name, None) or _Bucket(BURST, now)
        bucket.refill(now)
        bucket.left = max(0.0, bucket.left - 1.0)
        buckets[name] = bucket
        while len(buckets) > self._most:
            buckets.popitem(last=False)
        return bucket

    @property
    def held(self) -> int:
        """How many buckets there are."""
        return len(self._addresses) + len(self._subjects)
