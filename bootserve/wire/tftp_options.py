"""TFTP option negotiation: which of the asked-for options a server grants, and with what value.

RFC 2347 (the frame), 2348 (blksize), 2349 (tsize), 7440 (windowsize). An option that was
not asked for is never acknowledged, nor a value above the one asked for: EDK2 drops such an OACK
and the boot stops without a word. A value that makes no sense is ignored, as RFC 2347 has it, and
the transfer goes on without that option.

``timeout`` (RFC 2349) is never granted: it would bind the server to wait so many whole seconds for
each lost block, where it can tell within a fraction of one. curl and U-Boot ask for 5 s of their
own accord, and took minutes over a lossy link for what takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootserve.wire.tftp_packets import Options

__all__ = ["Limits", "Terms", "negotiate"]

_DEFAULT_BLKSIZE = 512
_HEADERS = 20 + 8 + 4
"""Bytes of IPv4, UDP and TFTP headers around a block."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server grants at most: bytes per block, and blocks per window."""

    blksize: int = 1468
    windowsize: int = 64

    @classmethod
    def for_mtu(cls, mtu: int, windowsize: int = 64) -> Limits:
        """Return the limits whose datagrams fit ``mtu`` (bytes, IP header included) unfragmented.

        A fragmented block is lost with any of its fragments, and some firmware cannot
        reassemble. RFC 2348 ends at 65,464 bytes.
        """
        return cls(max(8, min(mtu - _HEADERS, 65464)), windowsize)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one transfer.

    ``blksize`` in bytes, ``windowsize`` in blocks. ``granted`` is what the OACK says; empty means
    that no OACK is sent and the transfer begins with DATA (RFC 2347).
    """

    blksize: int = _DEFAULT_BLKSIZE
    windowsize: int = 1
    granted: Options = ()


def negotiate(options: Options, size: int, limits: Limits) -> Terms:
    """Return the terms for a file of ``size`` bytes that was asked for with ``options``."""
    blksize, windowsize = _DEFAULT_BLKSIZE, 1
    granted: list[tuple[str, str]] = []
    for name, text in options:
        value = _number(text)
        if value is None:
            continue
        if name == "blksize" and value >= 8:
            value = blksize = min(value, limits.blksize)
        elif name == "windowsize" and value >= 1:
            value = windowsize = min(value, limits.windowsize)
        elif name == "tsize":
            value = size
        else:
            continue
        granted.append((name, str(value)))
    return Terms(blksize, windowsize, tuple(granted))


def _number(text: str) -> int | None:
    """Return a decimal number of at most ten digits; ``int`` alone would also take ``+1_0 ``."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None
