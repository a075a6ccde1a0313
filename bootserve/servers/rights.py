"""Giving up a process' rights for good, and reading which it has.

Capabilities belong to threads: both must be called before the first thread is started, and the
threads and programs that are started later have no more.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from bootserve.errors import Refused

__all__ = [
    "CAP_DAC_READ_SEARCH",
    "CAP_SETPCAP",
    "Rights",
    "drop_bounding_set",
    "drop_capabilities",
    "read_rights",
]

# <linux/prctl.h>, <linux/capability.h>
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_READ_SEARCH = 2
CAP_SETPCAP = 8

Rights = dict[str, int]
"""The capability sets of proc(5) as bits: ``CapInh``, ``CapPrm``, ``CapEff``, ``CapBnd`` and
``CapAmb``; and ``NoNewPrivs``."""


def read_rights(pid: int | str = "self") -> Rights:
    """Return what the process ``pid`` has; raises OSError when there is none."""
    rights: Rights = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.startswith("Cap"):
            rights[name] = int(value, 16)
        elif name == "NoNewPrivs":
            rights[name] = int(value)
    return rights


def drop_bounding_set(keep: int = 0) -> None:
    """Empty the bounding set but for ``keep`` (bits): no program started from here can have more.

    That needs CAP_SETPCAP; without it nothing changes, and :func:`drop_capabilities` alone keeps
    programs from gaining any. Raises Refused.
    """
    if not read_rights()["CapEff"] >> CAP_SETPCAP & 1:
        return
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        if not keep >> capability & 1:
            _prctl(_PR_CAPBSET_DROP, capability)


def drop_capabilities(keep: int = 0) -> None:
    """Give up every capability but those of ``keep``, and the way to gain any; raises Refused."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)(keep, keep)) != 0:
        raise _refused(ctypes.get_errno())
    rights = read_rights()
    if rights["CapPrm"] != keep or rights["CapInh"] or not rights["NoNewPrivs"]:
        raise Refused(f"the capabilities are not gone: {rights}")


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(word) for word in (value, 0, 0, 0)]
    if libc.prctl(option, *words) != 0:
        raise _refused(ctypes.get_errno())


def _refused(number: int) -> Refused:
    return Refused(f"the capabilities cannot be dropped: {os.strerror(number)}")
