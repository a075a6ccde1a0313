"""The systemd unit: how much of the system it leaves open, by systemd's own judgement."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

UNIT = Path(__file__).parents[2] / "deploy/bootserve.service"


def test_the_sandbox_is_at_2_0_or_below(tell: Callable[[str], None]) -> None:
    argv = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager"]
    done = subprocess.run([*argv, str(UNIT)], capture_output=True, text=True, check=False)
    figure = re.search(r"Overall exposure level for bootserve\.service: ([0-9.]+)", done.stdout)
    assert figure is not None, done.stderr
    tell(figure[0])
    assert float(figure[1]) <= 2.0
    assert done.returncode == 0


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """It passes over a key that it does not know, and over a word that it cannot read."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/bootserve/bin/bootserve", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []
    assert done.returncode == 0
