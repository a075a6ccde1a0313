"""Changed files whose text nodes are asked for, where the policy lets them send it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bootserve.errors import InvalidInput, Refused

__all__ = ["MAX_FILE", "NEVER", "ChangedFile", "DiffBook"]

MAX_FILE = 64 << 10
"""Bytes that are sent of each of the two files."""

NEVER = (
    "*shadow*",
    "*passwd*",
    "*secret*",
    "*token*",
    "*credential*",
    "*key*",
    "*.pem",
    "*.p12",
    "*.pfx",
    "*.kdbx",
    "*kubeconfig*",
    "*/private/*",
    "*/.ssh/*",
    "*/.gnupg/*",
    "/etc/sudoers*",
    "/etc/krb5*",
    "/etc/wpa_supplicant*",
    "*/system-connections/*",
    "/proc/*",
    "/sys/*",
)
"""Whatever the policy says, no file whose path, in lower case, is like one of these is asked for.

The node holds to the same list (``may_send`` in images/node/root/usr/lib/bootserve/heartbeat).
"""

_KEPT = 256


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file of the image (``lower``) and what it was made into on the node (``upper``).

    Each is at most MAX_FILE bytes, or None where there is none; ``cut`` says that more was there.
    ``at`` is seconds since the epoch.
    """

    boot: str
    path: str
    at: float
    lower: bytes | None
    upper: bytes | None
    cut: bool = False


class DiffBook:
    """What nodes are asked to send, and what they sent; the last few hundred are kept.

    ``allowed`` are patterns of paths as in a shell, ``*`` for any characters.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = tuple(allowed)
        self._wanted: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._files: OrderedDict[tuple[str, str], ChangedFile] = OrderedDict()

    def check(self, path: str) -> None:
        """Raise InvalidInput for what is no path, Refused for one that the policy keeps back."""
        if not path.startswith("/") or ".." in path.split("/") or not path.isprintable():
            raise InvalidInput(f"{path[:80]!r} is not an absolute path of a file")
        low = path.lower()
        if any(fnmatchcase(low, pattern) for pattern in NEVER):
            raise Refused(
                f"{path} may hold a secret: no node is ever asked for it",
                hint="Look at it on the node itself.",
            )
        if not any(fnmatchcase(path, pattern) for pattern in self._allowed):
            raise Refused(
                f"the policy does not let nodes send {path}",
                hint="The setting drift_diff_paths lists what they may, such as /etc/ssh/*.",
            )

    def ask(self, node: str, boot: str, path: str) -> ChangedFile | None:
        """Return what ``node`` has sent of ``path`` in this boot, or None and ask it to.

        Raises what :meth:`check` raises.
        """
        self.check(path)
        found = self._files.pop((node, path), None)
        if found is not None and found.boot == boot:
            return found
        self._wanted[node, path] = boot
        if len(self._wanted) > _KEPT:
            self._wanted.popitem(last=False)
        return None

    def wanted(self, node: str) -> str | None:
        """Return the path of the file that ``node`` is to send next, or None."""
        if not self._wanted:
            return None
        return next((path for name, path in self._wanted if name == node), None)

    def sent(self, node: str, file: ChangedFile) -> None:
        """Take in what ``node`` sent; raises Refused for what it was not asked for."""
        if self._wanted.pop((node, file.path), None) is None:
            raise Refused("this file was not asked for")
        self._files[node, file.path] = file
        if len(self._files) > _KEPT:
            self._files.popitem(last=False)
