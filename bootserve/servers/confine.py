"""What every process of the server's own does first: it ends with the server and has no rights."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

from bootserve.servers.rights import drop_bounding_set, drop_capabilities

__all__ = ["confine"]

_NICE = 5
"""Where cores are short, offers and scripts come before the bulk that these processes send."""
_PR_SET_PDEATHSIG = 1


def confine() -> None:
    """End when the server says so or is gone, and give up every right: what is needed is open."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A terminal or systemd tells every process: this one ends when the server says so.
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # a sandbox may forbid the call
        os.nice(_NICE)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # What is to be read was read when this program was loaded.
    drop_bounding_set()
    drop_capabilities()
