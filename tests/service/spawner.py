"""Starts servers quickly: loads the program once, and forks one for each line that it reads.

``python -m tests.service.spawner INTERFACE STATE_DIR`` prints the process id of each. A server
forked here is what ``bootserve serve`` is, but for the second that Python takes to load it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path
from typing import TextIO

from bootserve.service.run import serve
from bootserve.settings import load_settings


def fork(interface: str, state_dir: Path, log: TextIO) -> int:
    """Fork a server and return its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    with contextlib.suppress(BaseException):
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        settings, _ = load_settings({"interface": interface, "state_dir": state_dir})
        code = serve(settings)
    os._exit(code)


def wait_for_port() -> None:
    """Wait until the TFTP worker of a server that was killed has let go of its port."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            try:
                one.bind(("", 69))
            except OSError:
                time.sleep(0.005)
            else:
                return


def main(interface: str, state_dir: Path, log: Path) -> None:
    """Fork a server for each line on stdin, and kill the last one at its end."""
    pid = 0
    with log.open("a") as output:
        for _ in sys.stdin:
            if pid:
                os.waitpid(pid, 0)
            wait_for_port()
            pid = fork(interface, state_dir, output)
            print(pid, flush=True)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
