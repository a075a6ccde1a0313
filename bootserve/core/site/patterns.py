"""Host lists and the patterns that count along with them: ``r12n[01-40]``.

A pattern is text with groups in brackets; a group is a list of numbers and ranges, ``[01-06,08]``,
a range may have a step, ``[1-39/2]``, and several groups make every combination, the last one
fastest. Zeros in front are kept. In MAC addresses the numbers are hexadecimal, may hold colons, and
keep their width: ``3c:ec:ef:00:[00:f0-01:17]``. It is ClusterShell's and Slurm's notation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise, product

from bootserve.errors import InvalidInput

__all__ = [
    "MAX_NAMES",
    "MAX_STEP",
    "expand",
    "expand_macs",
    "fold",
    "fold_macs",
    "fold_names",
    "mac_number",
    "split_name",
]

MAX_NAMES = 100_000
"""How many names one pattern may stand for."""

_SPECIAL = re.compile(r"[\[\],]")
_GROUP = re.compile(r"\[([^\[\]]*)\]")
_DECIMAL = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?:/([1-9]\d{0,5}))?)?")
_HEX = r"[0-9a-f:]{1,17}"
_HEXADECIMAL = re.compile(rf"({_HEX})(?:-({_HEX})(?:/([1-9]\d{{0,5}}))?)?")
MAX_STEP = 64
"""The largest step that is still readable as one."""
_LAST_NUMBER = re.compile(r"(.*?)(\d{1,9})(\D*)", re.DOTALL)
"""The ``.*?`` gives way to as many digits as there are, since what follows has none."""

Values = Callable[[str, str], Sequence[str]]
"""Turns one range, and the pattern it is in for the error, into what it stands for."""


def expand(pattern: str) -> list[str]:
    """Return what ``pattern`` stands for, in order; text without brackets stands for itself.

    Commas outside brackets join several patterns. Raises InvalidInput.
    """
    if not _SPECIAL.search(pattern):
        return [pattern.strip()] if pattern.strip() else []
    parts = re.findall(r"(?:[^,\[]|\[[^\]]*\]?)+", pattern)
    return _limited((name for part in parts for name in _expand(part.strip(), _decimals)), pattern)


def expand_macs(pattern: str) -> list[str]:
    """Return the MAC addresses that ``pattern`` stands for, unchecked; raises InvalidInput."""
    return _limited(_expand(pattern.strip().lower(), _hexadecimals), pattern)


def _limited(names: Iterable[str], pattern: str) -> list[str]:
    found = list(names)
    if len(found) > MAX_NAMES:
        raise InvalidInput(f"{pattern[:60]!r} stands for more than {MAX_NAMES:,} names")
    return found


def _expand(pattern: str, values: Values) -> Iterable[str]:
    texts = _GROUP.split(pattern)
    if len(texts) == 1:
        if "[" in pattern or "]" in pattern:
            raise InvalidInput(f"{pattern[:60]!r} has a bracket without its partner")
        return [pattern]
    if any(one in text for text in texts[::2] for one in "[]"):
        raise InvalidInput(f"{pattern[:60]!r} has a bracket without its partner")
    groups = [_values(text, pattern, values) for text in texts[1::2]]
    count = 1
    for group in groups:
        count *= len(group)
        if count > MAX_NAMES:
            raise InvalidInput(f"{pattern[:60]!r} stands for more than {MAX_NAMES:,} names")
    fixed = texts[::2]
    return ("".join(_interleave(fixed, chosen)) for chosen in product(*groups))


def _interleave(fixed: Sequence[str], chosen: Sequence[str]) -> Iterable[str]:
    for text, value in zip(fixed, chosen, strict=False):
        yield text
        yield value
    yield fixed[-1]


def _values(group: str, pattern: str, values: Values) -> list[str]:
    found: list[str] = []
    for part in group.split(","):
        found += values(part.strip(), pattern)
        if len(found) > MAX_NAMES:
            raise InvalidInput(f"{pattern[:60]!r} stands for more than {MAX_NAMES:,} names")
    return found


def _bad(part: str, pattern: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{part[:40]!r} in {pattern[:60]!r} {why}", hint="Write ranges as [01-40] or [1-3,7,9-11]."
    )


def _decimals(part: str, pattern: str) -> Sequence[str]:
    match = _DECIMAL.fullmatch(part)
    if match is None:
        raise _bad(part, pattern, "is no number or range")
    first, last, step = match[1], match[2] or match[1], int(match[3] or 1)
    padded = (len(first) > 1 and first[0] == "0") or (len(last) > 1 and last[0] == "0")
    if padded and len(first) != len(last):
        raise _bad(part, pattern, "has ends of different widths")
    numbers = range(_in_order(int(first), int(last), step, part, pattern), int(last) + 1, step)
    return [str(number).zfill(len(first) if padded else 0) for number in numbers]


def _hexadecimals(part: str, pattern: str) -> Sequence[str]:
    match = _HEXADECIMAL.fullmatch(part)
    if match is None:
        raise _bad(part, pattern, "is no hexadecimal number or range")
    first, last, step = match[1], match[2] or match[1], int(match[3] or 1)
    if re.sub(r"[^:]", "0", first) != re.sub(r"[^:]", "0", last):
        raise _bad(part, pattern, "has ends of different shapes")
    shape, digits = first, first.replace(":", "")
    if not digits:
        raise _bad(part, pattern, "is no hexadecimal number or range")
    low, high = int(digits, 16), int(last.replace(":", ""), 16)
    numbers = range(_in_order(low, high, step, part, pattern), high + 1, step)
    return [_shaped(f"{number:0{len(digits)}x}", shape) for number in numbers]


def _in_order(low: int, high: int, step: int, part: str, pattern: str) -> int:
    if low > high:
        raise _bad(part, pattern, "ends before it begins")
    if (high - low) // step >= MAX_NAMES:
        raise InvalidInput(f"{pattern[:60]!r} stands for more than {MAX_NAMES:,} names")
    return low


def _shaped(digits: str, shape: str) -> str:
    found = iter(digits)
    return "".join(":" if one == ":" else next(found) for one in shape)


def split_name(name: str) -> tuple[str, int, int, str] | None:
    """Return what is before the last number of ``name``, the number, its width, what is after.

    The width is 0 for a number that is not padded. None for a name without a number.
    """
    match = _LAST_NUMBER.fullmatch(name)
    if match is None:
        return None
    digits = match[2]
    return (
        match[1],
        int(digits),
        len(digits) if digits[0] == "0" and len(digits) > 1 else 0,
        match[3],
    )


def fold(numbers: Sequence[int], write: Callable[[int], str]) -> str:
    """Return ascending ``numbers`` as a group in brackets, or plainly when there is one."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    if len(numbers) == 1:
        return write(numbers[0])
    parts = [write(a) if a == b else f"{write(a)}-{write(b)}" for a, b in ranges]
    return f"[{','.join(parts)}]"


def fold_names(values: Sequence[str]) -> str | None:
    """Return a pattern that stands for exactly ``values``, in their order; None for none found."""
    if len(values) == 1:
        return values[0] if _stands_for(values[0], values) else None
    ends = [_LAST_NUMBER.fullmatch(value) for value in (values[0], values[1], values[-1])]
    first, second, last = ends
    if first is None or second is None or last is None:
        return None
    step = int(second[2]) - int(first[2])
    if not 1 <= step <= MAX_STEP:
        return None
    counted = f"{first[2]}-{last[2]}{f'/{step}' if step > 1 else ''}"
    pattern = f"{first[1]}[{counted}]{first[3]}"
    return pattern if _stands_for(pattern, values) else None


def _stands_for(pattern: str, values: Sequence[str]) -> bool:
    try:
        return expand(pattern) == list(values)
    except InvalidInput:
        return False


def fold_macs(macs: Sequence[str]) -> str | None:
    """Return a pattern that stands for exactly ``macs`` (as parse_mac gives), in order, or None."""
    if len(macs) == 1:
        return macs[0]
    numbers = [mac_number(mac) for mac in macs]
    step = numbers[1] - numbers[0]
    if not 1 <= step <= MAX_STEP:
        return None
    if any(after - before != step for before, after in pairwise(numbers)):
        return None
    first, last = macs[0].split(":"), macs[-1].split(":")
    same = next(place for place in range(6) if first[place] != last[place])
    head = "".join(f"{octet}:" for octet in first[:same])
    counted = f"{':'.join(first[same:])}-{':'.join(last[same:])}"
    return f"{head}[{counted}{f'/{step}' if step > 1 else ''}]"


def mac_number(mac: str) -> int:
    """Return a MAC address as a number."""
    return int(mac.replace(":", ""), 16)
