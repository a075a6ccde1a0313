"""What libraries print on stderr becomes lines of the log, few of each kind."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import structlog
from structlog.testing import LogCapture

from bootserve.service.calm import Calm
from bootserve.service.weblog import library_logs

ROOT = Path(__file__).parents[2]


def fail() -> None:
    raise ValueError("a fault of ours")


async def fail_often() -> None:
    """Fail in callbacks of the running loop."""
    loop = asyncio.get_running_loop()
    for _ in range(50):
        loop.call_soon(fail)
    await asyncio.sleep(0)


async def test_what_fails_in_an_event_loop_is_some_lines_and_a_count() -> None:
    captured = LogCapture()
    calm = Calm(structlog.wrap_logger(None, processors=[captured]))
    with library_logs(calm):
        await fail_often()
        other = threading.Thread(target=asyncio.run, args=(fail_often(),))
        other.start()
        await asyncio.to_thread(other.join)
    assert calm.counts["internal"] == 100
    assert len(captured.entries) == 20
    assert {line["log_level"] for line in captured.entries} == {"error"}
    assert isinstance(captured.entries[0]["exc_info"][1], ValueError)
    logging.getLogger("asyncio").error("after the server's end")
    assert calm.counts["internal"] == 100


def test_nothing_else_is_printed() -> None:
    program = textwrap.dedent("""
        import asyncio, logging, sys
        from bootserve.service.calm import Calm
        from bootserve.service.logs import make_logger
        from bootserve.service.weblog import library_logs
        from tests.service.test_weblog import fail_often

        with library_logs(Calm(make_logger("json"))):
            asyncio.run(fail_often())
    """)
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    lines = ran.stderr.splitlines()
    assert (ran.returncode, len(lines)) == (0, 20)
    assert all('"event": "internal"' in line and "a fault of ours" in line for line in lines)
