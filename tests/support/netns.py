"""Network namespaces of a test's own, joined by veth pairs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["Link", "inside", "ip", "joined"]

Link = tuple[str, Sequence[str], Sequence[str]]
"""The name of two interfaces that are joined, the server's addresses and the client's."""

_CLONE_NEWNET = 0x40000000


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Let the sockets that are made in the block belong to ``namespace``."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    away = os.open(Path("/run/netns") / namespace, os.O_RDONLY)
    try:
        assert libc.setns(away, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        assert libc.setns(home, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        os.close(home)
        os.close(away)


@contextlib.contextmanager
def joined(prefix: str, *links: Link) -> Iterator[list[str]]:
    """Two namespaces, for a server and a client, with an interface of one name in each per link.

    ``prefix`` tells one kind of test from another.
    """
    names = [f"{prefix}{os.getpid()}{side}" for side in "sc"]
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        for link, *sides in links:
            peer = ("peer", "name", link, "netns", names[1])
            ip("-n", names[0], "link", "add", link, "type", "veth", *peer)
            for name, addresses in zip(names, sides, strict=True):
                ip("-n", name, "link", "set", link, "up")
                for address in addresses:
                    ip("-n", name, "address", "add", f"{address}/24", "dev", link)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
