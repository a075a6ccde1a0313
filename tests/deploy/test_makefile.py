"""What make runs as root for a user with sudo, and what its help lists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.bundles import ROOT

# -E keeps the caller's variables; what stands before the command is set
SUDO = '#!/bin/sh\n[ "$1" = -E ] && shift && exec env "$@"\n'
ASK = "from bootserve.build.image import default_cache_dir; print(default_cache_dir())"


def cache_of(folder: Path, uid: int) -> Path:
    """Return the cache of what make runs as root for the user ``uid``, whose home is there."""
    (folder / "bin").mkdir()
    for name, text in {"id": f"#!/bin/sh\necho {uid}\n", "sudo": SUDO}.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    more = folder / "more.mk"
    more.write_text(f"ask:\n\t@$(ASROOT) $(BIN)/python -c '{ASK}'\n")
    env = {"PATH": f"{folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder)}
    argv = ["make", "-s", "-C", str(ROOT), "-f", "Makefile", "-f", str(more), "ask"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=True)
    return Path(done.stdout.strip())


def test_root_writes_nothing_to_the_cache_of_the_user_it_is_asked_by(tmp_path: Path) -> None:
    assert cache_of(tmp_path, uid=1000) == Path("/root/.cache/bootserve")


def test_root_itself_has_the_usual_cache(tmp_path: Path) -> None:
    assert cache_of(tmp_path, uid=0) == tmp_path / ".cache/bootserve"


def test_help_lists_every_target() -> None:
    argv = ["make", "-s", "-C", str(ROOT), "help"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    listed = re.findall(r"^  make (\S+) +\S", said, re.M)
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.M)
    assert sorted(listed) == sorted(phony.split())
    # what is no file's name and not said to be phony would be forgotten above
    assert set(re.findall(r"^([a-z-]+):(?!=)", text, re.M)) == set(listed)
