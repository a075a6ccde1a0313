"""Joins a network to a trunk as its VLAN: what an access port of a switch does, in userspace.

The machine's own kernel may lack 802.1Q. So frames go between two taps here, and get or lose their
tag on the way (IEEE 802.1Q: TPID 0x8100, then priority and VLAN id). It runs as a process of its
own: ``python -m vm_harness.vlan VID ACCESS TRUNK``, with the names of the taps.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import struct
import sys
from collections.abc import Callable

__all__ = ["tag", "untag"]

_TPID = b"\x81\x00"
_ADDRESSES = 12  # bytes: the two MAC addresses, before the tag
_FRAME = 65_536
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000


def tag(frame: bytes, vid: int) -> bytes | None:
    """Return the frame with the tag of ``vid``; None for one that is tagged already."""
    if frame[_ADDRESSES : _ADDRESSES + 2] == _TPID:
        return None
    return frame[:_ADDRESSES] + _TPID + vid.to_bytes(2, "big") + frame[_ADDRESSES:]


def untag(frame: bytes, vid: int) -> bytes | None:
    """Return the frame without its tag; None unless it is of the VLAN ``vid``."""
    if frame[_ADDRESSES : _ADDRESSES + 2] != _TPID:
        return None
    if int.from_bytes(frame[_ADDRESSES + 2 : _ADDRESSES + 4], "big") & 0xFFF != vid:
        return None
    return frame[:_ADDRESSES] + frame[_ADDRESSES + 4 :]


def _open(tap: str) -> int:
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, _TUNSETIFF, struct.pack("16sH22x", tap.encode(), _IFF_TAP | _IFF_NO_PI))
    return handle


def _carry(source: int, target: int, change: Callable[[bytes], bytes | None]) -> None:
    try:
        frame = change(os.read(source, _FRAME))
        if frame is not None:
            os.write(target, frame)
    except BlockingIOError:  # as a full queue of a switch: the frame is lost
        return


def main(vid: int, access: str, trunk: str) -> None:
    """Carry frames until the process is ended."""
    inside, outside = _open(access), _open(trunk)
    with selectors.DefaultSelector() as selector:
        selector.register(
            inside, selectors.EVENT_READ, lambda: _carry(inside, outside, lambda f: tag(f, vid))
        )
        selector.register(
            outside, selectors.EVENT_READ, lambda: _carry(outside, inside, lambda f: untag(f, vid))
        )
        print("ready", flush=True)
        while True:
            for key, _ in selector.select():
                key.data()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
