"""YAML as plain text, lists and mappings, with the line of each thing.

Every scalar is text as it was written: ``52:54:00:12:34:56`` is no number and ``on`` no truth
value here, as they would be in YAML 1.1. What a file of settings has no use for and an attacker
has is refused: aliases (a few lines of them stand for gigabytes), tags, deep nesting, several
documents. Duplicate keys are refused, since one of them would count for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from bootserve.errors import InvalidInput

__all__ = ["MAX_BYTES", "Read", "read_yaml"]

MAX_BYTES = 32 << 20
MAX_DEPTH = 16

_TWICE = "Remove one of them, or join what they say."

_HINTS = {
    "found character '\\t' that cannot start any token": "Indent with spaces, not with tabs.",
    "mapping values are not allowed in this context": "Quote a text that holds ': '.",
}


@dataclass(slots=True)
class Read:
    """What was read from the file that errors call ``name``, and where each part of it is."""

    name: str
    data: Any = None
    _lines: dict[int, dict[Any, int]] = field(default_factory=dict)

    def line(self, path: tuple[Any, ...]) -> int:
        """Return the line of what ``path`` leads to, or of the last thing on it that exists."""
        here, line = self.data, 1
        for part in path:
            found = self._lines.get(id(here), {}).get(part)
            if found is None:
                continue
            line, here = found, here[part]
        return line

    def fail(self, path: tuple[Any, ...], message: str, hint: str = "") -> NoReturn:
        """Raise InvalidInput that says where ``path`` leads to."""
        raise InvalidInput(f"{self.name}:{self.line(path)}: {message}", hint=hint)


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read; ``key`` is a mapping's key without a value yet."""

    value: Any
    lines: dict[Any, int]
    key: str | None = None


def read_yaml(text: str, name: str) -> Read:
    """Return what the YAML in ``text`` holds; ``name`` is the file's, for errors.

    Raises InvalidInput, with file and line, for what is no YAML and for what is refused.
    """
    if len(text) > MAX_BYTES:
        raise InvalidInput(f"{name} is larger than {MAX_BYTES >> 20} MiB")
    reader = _Reader(name)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line + 1, max(1, len(text.splitlines()))) if mark else 1
        problem = str(error.problem or error.context)
        raise InvalidInput(
            f"{name}:{line}: this is no YAML: {problem}", hint=_HINTS.get(problem, "")
        ) from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"{name}: this is no YAML: {str(error).splitlines()[0]}") from None
    return reader.read


class _Reader:
    """Takes the parser's events one by one, so that no nesting is too deep for it."""

    def __init__(self, name: str) -> None:
        self.read = Read(name)
        self._open: list[_Open] = []
        self._documents = 0

    def take(self, event: Any) -> None:
        """Take one event; raises InvalidInput."""
        match event:
            case yaml.ScalarEvent():
                self._plain(event)
                self._put(event.value, event)
            case yaml.MappingStartEvent():
                self._begin({}, event)
            case yaml.SequenceStartEvent():
                self._begin([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._open.pop()
            case yaml.AliasEvent():
                self._fail(event, "anchors and aliases are not read", "Say it in 'defaults'.")
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._fail(event, "a second document begins here", "Keep one in a file.")

    def _plain(self, event: Any) -> None:
        if event.anchor:
            self._fail(event, "anchors and aliases are not read", "Say it in 'defaults'.")
        if event.tag not in (None, "!"):
            self._fail(event, f"tags such as {event.tag[:40]} are not read", "Write it without.")

    def _begin(self, value: Any, event: Any) -> None:
        self._plain(event)
        if len(self._open) >= MAX_DEPTH:
            self._fail(event, "this is nested too deeply")
        lines: dict[Any, int] = {}
        self._put(value, event)
        self.read._lines[id(value)] = lines
        self._open.append(_Open(value, lines))

    def _put(self, value: Any, event: Any) -> None:
        if not self._open:
            self.read.data = value
            return
        top, line = self._open[-1], event.start_mark.line + 1
        if isinstance(top.value, list):
            top.lines[len(top.value)] = line
            top.value.append(value)
        elif top.key is None:
            if not isinstance(value, str):
                self._fail(event, "a key must be text", "Quote a key that begins with [ or {.")
            if value in top.value:
                first = top.lines[value]
                self._fail(event, f"{value[:60]!r} is there already, on line {first}", _TWICE)
            top.key, top.lines[value] = value, line
        else:
            top.value[top.key], top.key = value, None

    def _fail(self, event: Any, message: str, hint: str = "") -> NoReturn:
        line = event.start_mark.line + 1
        raise InvalidInput(f"{self.read.name}:{line}: {message}", hint=hint)
