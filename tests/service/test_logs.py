"""The log as a person sees it on a terminal, and as a program reads it elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

PROGRAM = """\
import sys
from bootserve.service.logs import make_logger
log = make_logger(sys.argv[1]).bind(node="r1n01")
log.debug("not told")
log.info("phase", phase="kernel", boot="0123abcd", address="10.0.0.7")
log.warning("phase", phase="failed", detail="two words")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
"""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
TEXT = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S* \[(?P<level>\w+) *\] (?P<event>\w+) +(?P<values>.*)"
)


def on_terminal(style: str) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, style], stderr=theirs)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed, which is the end
        while chunk := os.read(ours, 65536):
            said += chunk
    os.close(ours)
    assert process.wait(60) == 0
    return said.decode().replace("\r\n", "\n")


def in_pipe(style: str) -> str:
    argv = [sys.executable, "-c", PROGRAM, style]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""
    return done.stderr


def check_text(said: str) -> None:
    lines = [TEXT.fullmatch(line) for line in said.splitlines()[:3]]
    found = [(line["level"], line["event"], line["values"].split(" ", 3)) for line in lines if line]
    address, boot = "address=10.0.0.7", "boot=0123abcd"
    assert found == [
        ("info", "phase", [address, boot, "node=r1n01", "phase=kernel"]),
        ("warning", "phase", ["detail='two", "words'", "node=r1n01", "phase=failed"]),
        ("error", "broken", ["node=r1n01"]),
    ]
    assert "ZeroDivisionError: division by zero" in said
    assert "not told" not in said


@pytest.mark.parametrize("style", ["auto", "text"])
def test_on_a_terminal_it_is_text_with_colours_one_line_an_event(style: str) -> None:
    said = on_terminal(style)
    for line in said.splitlines()[:3]:
        assert COLOUR.search(line), line
    check_text(COLOUR.sub("", said))


def test_text_without_a_terminal_has_no_colours() -> None:
    said = in_pipe("text")
    assert "\x1b" not in said
    check_text(said)


@pytest.mark.parametrize(("style", "read"), [("auto", in_pipe), ("json", on_terminal)])
def test_elsewhere_and_when_asked_it_is_json_one_object_a_line(
    style: str, read: Callable[[str], str]
) -> None:
    said = read(style)
    assert "\x1b" not in said
    kernel, failed, broken = map(json.loads, said.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", kernel.pop("timestamp"))
    assert kernel == {
        "event": "phase",
        "level": "info",
        "node": "r1n01",
        "phase": "kernel",
        "boot": "0123abcd",
        "address": "10.0.0.7",
    }
    assert (failed["level"], failed["detail"]) == ("warning", "two words")
    assert (broken["level"], broken["event"]) == ("error", "broken")
    assert "ZeroDivisionError: division by zero" in broken["exception"]
