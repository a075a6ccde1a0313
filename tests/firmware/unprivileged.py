"""Runs one case as a user without any right: ``python -m tests.firmware.unprivileged NAME``.

Started by root, it becomes nobody; else it stays who it is, without capabilities. Prints as JSON
what was seen, and the user, groups and rights that this process and its QEMU had. Its TMPDIR must
be one that the user can write.

The checkout may lie where nobody may not go, so all is imported first: from then on it reads only
what Debian's packages installed, and its own files.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from bootserve.servers.rights import drop_bounding_set, drop_capabilities, read_rights
from tests.firmware.cases import CASES, Case
from tests.firmware.exchange import Exchange

__all__ = ["NOBODY"]

NOBODY = 65534
"""The number of Debian's user nobody, and of its group nogroup."""


def give_up() -> None:
    drop_bounding_set()
    if os.geteuid() == 0:
        os.setgroups(())
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    drop_capabilities()


def who(pid: int) -> dict[str, object]:
    """Return the user, real, effective, saved and for files, its groups, and its rights."""
    found = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    ids = {name: [int(one) for one in found[name].split()] for name in ("Uid", "Gid", "Groups")}
    return {**ids, **read_rights(pid)}


def play(case: Case) -> dict[str, object]:
    """Play ``case`` to its end."""
    who_ran = [who(os.getpid())]
    exchange = Exchange(
        case.firmware,
        case.main,
        case.ours,
        case.shape,
        started=lambda pid: who_ran.append(who(pid)),
    )
    return {"seen": asdict(exchange.run(limit=240)), "who": who_ran}


def main() -> None:
    [case] = [one for one in CASES if one.name == sys.argv[1]]
    give_up()
    print(json.dumps(play(case)))


if __name__ == "__main__":
    main()
