"""The probe's packages are extra: nothing else loads them, and their absence is said."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bootserve.cli.probe import complete_interfaces
from tests.cli.runner import run, run_program


@pytest.mark.parametrize("name", ["scapy", "tftpy"])
def test_a_missing_package_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(name={name!r})")
    result = run_program(
        "probe", "-i", "lo", "--mac", "52:54:00:00:00:01", PYTHONPATH=str(tmp_path)
    )
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f"bootserve: 'bootserve probe' needs the Python package {name}, which is not installed\n"
        "Install them: pip install 'bootserve[probe]'.\n"
    )


def test_neither_the_server_nor_the_other_commands_load_them() -> None:
    load = "import bootserve.cli.app, bootserve.service.run, sys; bootserve.cli.app.make_app();"
    check = "sys.exit(bool({'scapy', 'tftpy'} & {one.partition('.')[0] for one in sys.modules}))"
    subprocess.run([sys.executable, "-c", load + check], check=True, timeout=120)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mac", "nonsense"], "'nonsense' is not a MAC address"),
        ([], "there is no interface 'eth99'"),
    ],
)
def test_bad_input_is_said_in_a_line(words: list[str], said: str) -> None:
    result = run("probe", "--interface", "eth99", *words)
    assert result.code == 1
    assert result.err.count("bootserve: ") == 1
    assert said in result.err


def test_interfaces_are_completed_but_the_loopback() -> None:
    offered = complete_interfaces("")
    assert "lo" not in offered
    assert set(offered) | {"lo"} == {name for _, name in socket.if_nameindex()}
    assert complete_interfaces("no such") == []


def test_a_firmware_that_there_is_not() -> None:
    assert run("probe", "--interface", "lo", "--firmware", "openboot").code == 2
