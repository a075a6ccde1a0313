"""The shell helpers against a real interactive bash on a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest
from vm_harness.console import Console
from vm_harness.errors import ExpectError, HarnessError
from vm_harness.shell import run_in_shell, wait_for_prompt


def _pump(master: int, far: socket.socket) -> None:
    while True:
        try:
            data = os.read(master, 4096)
            far.sendall(data)
        except OSError:
            return


def _type(master: int, far: socket.socket) -> None:
    while data := far.recv(4096):
        os.write(master, data)


@pytest.fixture
def console() -> Iterator[Console]:
    master, slave = pty.openpty()
    near, far = socket.socketpair()
    bash = subprocess.Popen(
        ["setsid", "-c", "bash", "--norc", "--noprofile", "-i"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={"PATH": os.environ["PATH"], "TERM": "vt220", "PS1": r"root@node:\w# ", "HOME": "/"},
    )
    os.close(slave)
    threads = [
        threading.Thread(target=pump, args=(master, far), daemon=True) for pump in (_pump, _type)
    ]
    for thread in threads:
        thread.start()
    console = Console(near, name="n1")
    yield console
    bash.kill()
    bash.wait()
    console.close()
    for thread in threads:
        thread.join(10)
    far.close()
    os.close(master)


def test_output_and_nothing_else_comes_back(console: Console) -> None:
    wait_for_prompt(console, 10)
    assert run_in_shell(console, "echo one; printf 'two'", timeout=10, check=True) == "one\ntwo"
    assert run_in_shell(console, "true", timeout=10, check=True) == ""
    assert run_in_shell(console, "cat", timeout=10, check=True) == ""


@pytest.mark.parametrize(
    "command",
    [
        "printf '%s\\n' \"a'b\" '!!' '$HOME' \"\\\\\"",
        'for word in a b\ndo\n\techo "<$word>" # a tab, and a comment\ndone',
        "printf %s " + "x" * 500,
        "printf 'zażółć'",
        "printf '50%%\\r100%%'",
        'cd /proc/self && printf %s "$PWD"',
    ],
)
def test_quoting_is_that_of_a_script(console: Console, command: str) -> None:
    wait_for_prompt(console, 10)
    meant = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    got = run_in_shell(console, command, timeout=10, check=True)
    assert got == meant.stdout.decode().removesuffix("\n")


def test_a_failure_is_an_error_that_quotes_it(console: Console) -> None:
    wait_for_prompt(console, 10)
    with pytest.raises(HarnessError, match=r"n1: .*failed with 3: oh no"):
        run_in_shell(console, "echo oh no; (exit 3)", timeout=10, check=True)
    assert run_in_shell(console, "echo oh; false", timeout=10, check=False) == "oh"


def test_a_command_that_hangs_is_an_error(console: Console) -> None:
    wait_for_prompt(console, 10)
    with pytest.raises(ExpectError, match="not within"):
        run_in_shell(console, "sleep 60", timeout=0.3, check=True)


def test_what_others_write_meanwhile_is_left_out(console: Console) -> None:
    wait_for_prompt(console, 10)
    console.send("(while sleep 0.02; do echo '[ 1.0] kernel: noise'; done) &\n")
    console.expect("noise\n", 10)
    counted = run_in_shell(
        console, "for n in 1 2 3 4 5; do echo $n; sleep 0.05; done", timeout=10, check=True
    )
    assert counted == "1\n2\n3\n4\n5"
    assert "noise" in console.text.rpartition("1\n")[2]
