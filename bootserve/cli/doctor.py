"""``doctor``: whether this machine and its state are fit to serve."""

from __future__ import annotations

from typing import Any

import typer

from bootserve.cli.command import CONNECTION, JSON, install, parameter
from bootserve.cli.findings import EXITS, exit_code, findings_json, render_findings
from bootserve.cli.output import Output
from bootserve.cli.serve import read_settings, setting_flags

__all__ = ["add_commands"]

HELP = f"""Look whether this machine can serve, or whether the server on it serves well.

Looks at ports and who has them, rights, firewall, interface, boot programs, clock, state directory,
disk, database, artifacts, snapshot and journal, and asks the server, if one runs. It changes
nothing. Takes the options of 'bootserve serve', so that a command line can be tried before it is
used; a running server's own interface counts. What only root can see is said to be unseen without
root. {EXITS}
"""
FULL = parameter(
    "full",
    bool,
    typer.Option("--full", help="Read every artifact and check its digest, not a sample of them."),
    False,
)


def add_commands(app: typer.Typer) -> None:
    """Add ``doctor`` to ``app``."""
    config_file = next(one for one in CONNECTION if one.name == "config")
    install(
        app,
        "doctor",
        _run,
        [*setting_flags(), config_file, FULL, JSON],
        HELP,
        ["bootserve doctor", "bootserve doctor --interface eth1 --json"],
        "Look",
    )


def _run(context: typer.Context, **values: Any) -> None:
    # The server's packages are slow to load.
    from bootserve.service.doctor.run import examine

    values.pop("config")
    out, full = Output(json=values.pop("json")), values.pop("full")
    settings, _ = read_settings(context, values)
    findings = examine(settings, out.note if out.progress_shown else _quiet, full=full)
    if out.is_json:
        out.json({"findings": findings_json(findings)})
    else:
        render_findings(out, findings)
    raise typer.Exit(exit_code(findings))


def _quiet(_text: str) -> None:
    """Say nothing: each check is short, and a log of them says no more than the findings."""
