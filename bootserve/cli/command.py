"""Makes a function a command: its options, its example, and what every command takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_args, get_type_hints

import typer
from typer.core import TyperCommand

from bootserve.cli.session import Connection, Session

__all__ = [
    "CONNECTION",
    "JSON",
    "Parameter",
    "command",
    "flowing",
    "group",
    "install",
    "parameter",
    "signature_of",
    "take",
]

P = ParamSpec("P")
Parameter = inspect.Parameter


def parameter(name: str, annotation: Any, option: Any, default: Any = None) -> Parameter:
    """Return a keyword parameter as typer reads it from a signature."""
    return Parameter(
        name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, option]
    )


def _connection(name: str, annotation: Any, help: str, metavar: str, *others: str) -> Parameter:
    option = typer.Option(
        *others,
        f"--{name.replace('_', '-')}",
        help=help,
        metavar=metavar,
        rich_help_panel="Connection",
    )
    return parameter(name, annotation, option)


CONNECTION = (
    _connection(
        "state_dir",
        Path | None,
        "The server's state directory, where its admin socket is; BOOTSERVE_STATE_DIR says the"
        " same. Default: /var/lib/bootserve.",
        "DIR",
    ),
    _connection(
        "url",
        str | None,
        "Reach the admin API over TCP: https://boot.example:8081, or http:// on loopback;"
        " BOOTSERVE_SERVER says the same.",
        "URL",
        "--server",
    ),
    _connection(
        "token_file",
        Path | None,
        "The token for --server; BOOTSERVE_TOKEN holds one itself. Default: what 'bootserve login'"
        " got, or, on loopback, admin.token in the state directory.",
        "FILE",
    ),
    _connection(
        "ca_file",
        Path | None,
        "Trust this CA (PEM) for --server, in place of the system's; BOOTSERVE_CA_FILE says the"
        " same.",
        "FILE",
    ),
    _connection(
        "config",
        Path | None,
        "A TOML file of settings. Default: /etc/bootserve/bootserve.toml, if there is one.",
        "FILE",
    ),
)
JSON = parameter("json", bool, typer.Option("--json", help="Print JSON for programs."), False)


def group(app: typer.Typer, name: str, help: str, panel: str) -> typer.Typer:
    """Add a group of commands to ``app`` and return it."""
    made = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
    app.add_typer(made, name=name, help=help, rich_help_panel=panel)
    return made


def command(
    app: typer.Typer,
    name: str,
    *examples: str,
    panel: str | None = None,
    cls: type[TyperCommand] | None = None,
) -> Callable[[Callable[Concatenate[Session, P], None]], Callable[Concatenate[Session, P], None]]:
    """Return a decorator that makes a function of a Session a command that talks to the server.

    The function's docstring is the command's help, ``examples`` end it. The command also takes
    ``--json`` and the options that say where the server is.
    """

    def register(
        function: Callable[Concatenate[Session, P], None],
    ) -> Callable[Concatenate[Session, P], None]:
        own = signature_of(function)

        def run(context: typer.Context, **values: Any) -> None:
            json = values.pop("json")
            for shared in CONNECTION:
                del values[shared.name]
            call: Callable[..., None] = function
            call(Session(Connection.of(context), json=json), **values)

        takes = [*own, JSON, *CONNECTION]
        install(app, name, run, takes, function.__doc__, examples, panel, cls)
        return function

    return register


def signature_of(function: Callable[..., None]) -> list[Parameter]:
    """Return the parameters of a command's function, without the first.

    ``**options: Unpack[T]`` counts as the fields of T, None by default.
    """
    found = []
    for one in list(inspect.signature(function, eval_str=True).parameters.values())[1:]:
        if one.kind is not Parameter.VAR_KEYWORD:
            found.append(one)
            continue
        fields = get_type_hints(get_args(one.annotation)[0], include_extras=True)
        found += [
            Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in fields.items()
        ]
    return found


def install(
    app: typer.Typer,
    name: str,
    run: Callable[..., None],
    parameters: Sequence[Parameter],
    help: str | None,
    examples: Sequence[str],
    panel: str | None = None,
    cls: type[TyperCommand] | None = None,
) -> None:
    """Add ``run`` to ``app`` under ``name``, taking a context and ``parameters``."""
    take(run, parameters)
    title = "Example:" if len(examples) == 1 else "Examples:"
    epilog = "\n\n".join([title, *_lines(examples)])
    app.command(name, cls=cls, help=flowing(help or ""), epilog=epilog, rich_help_panel=panel)(run)


def take(run: Callable[..., None], parameters: Sequence[Parameter]) -> None:
    """Give ``run`` the signature, which typer reads, of a context and ``parameters``."""
    context = Parameter("context", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    keywords = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters]
    run.__signature__ = inspect.Signature([context, *keywords])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in [context, *keywords]}


def flowing(text: str) -> str:
    """Return ``text`` with each paragraph on one line: rich keeps line breaks otherwise."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)


def _lines(examples: Sequence[str]) -> list[str]:
    return [f"[bold]{example}[/bold]" for example in examples]
