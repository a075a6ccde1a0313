"""All the commands together, and what their errors exit with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from typer.main import get_command

from bootserve import __version__
from bootserve.cli import (
    access,
    as_of,
    audit,
    declare,
    doctor,
    drift,
    groups,
    image,
    imports,
    login,
    nbp,
    node,
    pin,
    probe,
    reboot,
    rollout,
    serve,
    server,
    would_change,
)
from bootserve.cli.client import Unreachable
from bootserve.cli.command import CONNECTION, parameter, take
from bootserve.cli.output import report_error
from bootserve.errors import BootserveError

__all__ = ["make_app", "run"]

UNREACHABLE = 3

HELP = """Network boot service: every node runs exactly its pinned, immutable image generation."""
EXIT_CODES = (
    "Exit codes: 0 done; 1 refused, failed, or a check that did not pass; 2 the command line is"
    " wrong; 3 the server cannot be reached; 130 interrupted. plan, drift, doctor and probe have"
    " others for what they find: see their --help."
)
EPILOG = f"""{EXIT_CODES}

A first rack: 'bootserve serve --interface eth1', then

[bold]bootserve image build images/debian-base --import[/bold]

[bold]bootserve role set compute --image debian-base[/bold]

[bold]bootserve node add r12-n01 --mac 52:54:00:12:34:56 --rack r12 --role compute[/bold]

[bold]bootserve pin rack/r12 debian-base@1 -m 'first boot'[/bold]

[bold]bootserve explain r12-n01[/bold]"""


def _version(wanted: bool) -> None:
    if wanted:
        print(f"bootserve {__version__}")
        raise typer.Exit


VERSION = parameter(
    "version",
    bool,
    typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    False,
)


def _globals(context: typer.Context, **values: Any) -> None:
    """Leave the options in the context, where Connection.of finds them."""


def make_app() -> typer.Typer:
    """Return the application with every command."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
    take(_globals, [*CONNECTION, VERSION])
    app.callback(help=HELP, epilog=EPILOG)(_globals)
    serve.add_commands(app)
    parts = (node, groups, image, imports, nbp, pin, declare, rollout, reboot)
    more = (would_change, access, login, server, drift, audit, as_of)
    for part in (*parts, *more, probe, doctor):
        part.add_commands(app)
    return app


def run(arguments: Sequence[str] | None) -> int:
    """Run the command in ``arguments`` and return its exit code; errors of ours are told here."""
    try:
        get_command(make_app()).main(
            args=None if arguments is None else list(arguments), prog_name="bootserve"
        )
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Unreachable as error:
        report_error(str(error), error.hint)
        return UNREACHABLE
    except BootserveError as error:
        report_error(str(error), error.hint)
        return 1
    return 0
