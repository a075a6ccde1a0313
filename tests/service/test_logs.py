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


SCRIPT = """\
import asyncio, os, sys
from bootserve.model.boot import Boot
from bootserve.model.generation import GenerationRef
from bootserve.service.logs import Output, make_logger, make_script_log
boot = Boot("0" * 32, 'n"1', "52:54:00:00:00:01", GenerationRef("web", 7), "d", 3, 1.5, "10.0.0.7")
output = Output(sys.stderr)
log = make_logger("json", output)
fast = make_script_log("json", output)
async def main():
    log.info("script", node=boot.node, generation=str(boot.generation), revision=boot.revision,
             boot=boot.id, mac=boot.mac, address=boot.address)
    fast([boot, boot])
    sys.stdout.write("gathered ")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    log.info("last", way={1, 2}.__class__)
    if sys.argv[1] == "error":
        log.error("now")
        os._exit(3)
asyncio.run(main())
"""


@pytest.mark.parametrize(("end", "code"), [("end", 0), ("error", 3)])
def test_a_script_is_logged_as_anything_else_and_no_line_is_lost(end: str, code: int) -> None:
    argv = [sys.executable, "-c", SCRIPT, end]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    plain, fast, again = (re.sub(r'"timestamp": "[^"]*"', "", line) for line in lines[:3])
    assert plain == fast == again
    stamps = [json.loads(line)["timestamp"] for line in lines[:4]]
    assert stamps == sorted(stamps)
    assert all(re.fullmatch(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z", stamp) for stamp in stamps)
    assert json.loads(lines[3])["way"] == "<class 'set'>"
    assert [json.loads(line)["event"] for line in lines[4:]] == ["now"] * (end == "error")
