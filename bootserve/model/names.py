"""Names and MAC addresses: one accepted spelling inside, many outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from bootserve.errors import InvalidInput

__all__ = [
    "Arch",
    "Mac",
    "check_kernel_args",
    "check_labels",
    "check_name",
    "check_nbp_file",
    "parse_mac",
]

Mac = str
"""A MAC address in the one spelling used inside: ``52:54:00:12:34:56``."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_MAC_SEPARATED = re.compile(r"[0-9a-f]{1,2}([:-])[0-9a-f]{1,2}(?:\1[0-9a-f]{1,2}){4}")
_MAC_BARE = re.compile(r"[0-9a-f]{12}")
_MAC_DOTTED = re.compile(r"[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}")
_ARGS = re.compile(r"[\x20-\x7e]*")


class Arch(StrEnum):
    """A processor architecture, by Debian's name for it."""

    AMD64 = "amd64"
    ARM64 = "arm64"
    I386 = "i386"


def parse_mac(text: str) -> Mac:
    """Return ``text`` as ``aa:bb:cc:dd:ee:ff``.

    Accepts colons, hyphens (also PXELINUX's and BOOTIF's leading ``01-``), Cisco's dots, no
    separator at all, either case, and octets without their leading zero when separated.

    Raises InvalidInput for anything else, and for the group, broadcast and all-zero addresses,
    which no NIC sends from.
    """
    folded = text.strip().lower()
    if re.fullmatch(r"01-([0-9a-f]{2}-){5}[0-9a-f]{2}", folded):
        folded = folded[3:]
    if _MAC_SEPARATED.fullmatch(folded):
        digits = "".join(octet.zfill(2) for octet in re.split("[:-]", folded))
    elif _MAC_BARE.fullmatch(folded) or _MAC_DOTTED.fullmatch(folded):
        digits = folded.replace(".", "")
    else:
        raise InvalidInput(
            f"{text[:40]!r} is not a MAC address", hint="Write it as 52:54:00:12:34:56."
        )
    if digits == "0" * 12 or int(digits[:2], 16) & 1:
        raise InvalidInput(f"{text[:40]!r} is not the address of a NIC (group or null address)")
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def check_name(text: str, what: str = "name") -> str:
    """Return ``text`` when it is a usable name of a node, rack, role or image.

    Lower-case letters, digits, dots, hyphens and underscores, at most 63 characters, with a letter
    or digit at both ends, so that it is safe in a path, a URL and a kernel command line.

    Raises InvalidInput otherwise.
    """
    if not _NAME.fullmatch(text):
        raise InvalidInput(
            f"{text[:70]!r} is not a usable {what}",
            hint="Use lower-case letters, digits, '.', '-' and '_'; at most 63 characters.",
        )
    return text


def check_kernel_args(text: str) -> str:
    """Return ``text``, stripped, when a kernel command line can carry it.

    Raises InvalidInput for control or non-ASCII characters, for more than 1,024 characters (the
    kernel's whole line holds 2,048), and for ``${``, ``&&`` and ``||``, which iPXE would act on.
    """
    stripped = text.strip()
    if not _ARGS.fullmatch(stripped) or len(stripped) > 1024 or "${" in stripped:
        raise InvalidInput(
            "kernel arguments must be printable ASCII, at most 1,024 characters, without '${'"
        )
    if {"||", "&&"}.intersection(stripped.split()):
        raise InvalidInput("kernel arguments must not hold '||' or '&&' as words of their own")
    return stripped


def check_labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return ``labels`` in the order of their keys; raises InvalidInput for one no node can have.

    A key is a name, a value at most 200 printable characters.
    """
    for key, value in labels.items():
        check_name(key, "label")
        if len(value) > 200 or not value.isprintable():
            raise InvalidInput(f"label {key} must be at most 200 printable characters")
    return tuple(sorted(labels.items()))


def check_nbp_file(name: str) -> str:
    """Return ``name`` when it can name an NBP in ``nbp_dir``; raises InvalidInput otherwise."""
    if "/" in name or len(name) > 127 or not name.isascii() or not name.isprintable():
        raise InvalidInput("an NBP is named by its file name in nbp_dir")
    return name
