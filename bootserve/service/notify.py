"""Tells systemd how far the service is (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket

__all__ = ["notify"]


def notify(*lines: str) -> None:
    """Send ``lines`` (``READY=1``, ``STATUS=…``) to $NOTIFY_SOCKET; without one, do nothing."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.connect(address)
        sock.sendall("\n".join(lines).encode())
