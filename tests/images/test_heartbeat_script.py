"""The functions of the node's heartbeat, run by a shell with the way to the server cut off."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bootserve.core.diffs import NEVER, DiffBook
from bootserve.errors import Refused
from tests.support.bundles import ROOT

FOLDER = ROOT / "images/node/root/usr/lib/bootserve"
LOOP = "loop"
SECRETS = [("/etc/x" * (one[0] == "*") + one.replace("*", "A")) for one in NEVER]


def run(folder: Path, commands: str, *arguments: str, then: str = "") -> str:
    """Run ``commands`` after the script's functions; its state is in ``folder``/run.

    ``then`` is what is run after them: nothing, or LOOP, which is the rest of the script.
    """
    functions, until, rest = (FOLDER / "heartbeat").read_text().partition("\nuntil ")
    assert until
    if then is LOOP:
        commands += until + rest
    for name in ("common", "layers"):
        shutil.copy(FOLDER / name, folder)
    (folder / "run/drift").mkdir(parents=True, exist_ok=True)
    script = folder / "heartbeat"
    script.write_text(f"{functions}\ndir={folder}/run answer={folder}/answer\n{commands}\n")
    done = subprocess.run(
        ["sh", str(script), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("drift", "body"), [("unknown", ""), ("abc", "total 1\n"), ("sent", "")], ids=str
)
def test_a_node_that_cannot_look_sends_no_drift_of_an_earlier_time(
    tmp_path: Path, drift: str, body: str
) -> None:
    commands = f"""\
look() {{ baseline=unknown drift={drift}; }}
beat() {{ cat "$1"; : > "$answer"; }}
sent=sent
echo 'total 1' > $dir/drift/drift
round"""
    assert run(tmp_path, commands) == body


def test_a_node_sends_nothing_that_the_server_would_never_ask_for(tmp_path: Path) -> None:
    commands = """\
for path; do
    echo "changed file 0644 root:root 1 1 - $path//" > $dir/drift/drift
    may_send "$path" && echo "$path"
done; true"""
    assert run(tmp_path, commands, *SECRETS, "/etc/hosts") == "/etc/hosts\n"
    for path in SECRETS:
        with pytest.raises(Refused, match="may hold a secret"):
            DiffBook(["*"]).check(path)


def test_two_nodes_do_not_keep_coming_at_the_same_time(tmp_path: Path) -> None:
    """Each pause is the interval that was told, a tenth more or less, and another each time."""
    commands = """\
echo digest > $dir/up
round() { printf 'interval=250\n' > "$answer"; act; }
sleep() { echo "$1"; pauses=$((${pauses:-0} + 1)); [ $pauses -lt 100 ] || exit 0; }"""
    pauses = [float(line) for line in run(tmp_path, commands, then=LOOP).splitlines()]
    assert len(pauses) == 100
    assert all(225 <= pause <= 275 for pause in pauses)
    assert min(pauses) < 235 < 265 < max(pauses)
    assert len(set(pauses)) > 50
