"""``serve`` and ``config show``: the commands that take every setting as a flag."""

from __future__ import annotations

from types import NoneType
from typing import Any, get_args, get_origin

import typer
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from bootserve.cli.command import CONNECTION, JSON, Parameter, group, install, parameter
from bootserve.cli.output import Output
from bootserve.cli.session import Connection
from bootserve.settings import Settings, load_settings

__all__ = ["TABLES", "add_commands", "read_settings", "setting_flags"]

TABLES = frozenset({"hooks"})

SERVE = """Serve network boots until SIGTERM.

Answers DHCP as a proxy beside the network's own DHCP server, delivers boot programs by TFTP, and
scripts and images by HTTP, on the provisioning interfaces only; the admin API is on a Unix socket
in the state directory and on 127.0.0.1. Every option but --config can also be set as
BOOTSERVE_NAME in the environment or as a key of the TOML file; a flag beats both.
"""
SHOW = """Print every setting: its effective value and where that came from.

It takes the options of 'bootserve serve', so that a command line can be tried out.
"""


def add_commands(app: typer.Typer) -> None:
    """Add ``serve`` and ``config show`` to ``app``."""
    config_file = next(one for one in CONNECTION if one.name == "config")
    flags = setting_flags()
    install(
        app,
        "serve",
        _serve,
        [*flags, config_file],
        SERVE,
        [
            "bootserve serve --interface eth1",
            "bootserve serve --interface eth1 --interface eth2 --address eth2=10.0.2.1",
            "BOOTSERVE_INTERFACE=eth1 bootserve serve --unknown register",
        ],
        "Server",
    )
    config = group(app, "config", "The server's settings.", "Server")
    install(
        config, "show", _show, [*flags, config_file, JSON], SHOW, ["bootserve config show --json"]
    )


def setting_flags() -> list[Parameter]:
    """Return an option for every setting but tables, which have their place in the TOML file."""
    fields = Settings.model_fields.items()
    return [_flag(name, field) for name, field in fields if name not in TABLES]


def _flag(name: str, field: FieldInfo) -> Parameter:
    """Return the option for a setting: its type's choices and bounds, and no default of its own."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    optional = NoneType in get_args(field.annotation)
    kind: Any = kinds[0] if optional else field.annotation
    repeatable = get_origin(kind) is tuple
    if repeatable:
        kind = list[str]
    bounds: dict[str, Any] = {}
    for one in field.metadata:
        if isinstance(one, Ge) and isinstance(one.ge, int | float):
            bounds["min"] = one.ge
        elif isinstance(one, Le) and isinstance(one.le, int | float):
            bounds["max"] = one.le
    simple = isinstance(kind, type) and kind.__module__ == "ipaddress"
    default = "" if field.default in (None, "", ()) else f" Default: {field.default}."
    words = f"{_sentence(field.description)}{' Repeatable.' if repeatable else ''}{default}"
    metavar = f"<{name}>" if repeatable else None
    option = typer.Option(f"--{name.replace('_', '-')}", help=words, metavar=metavar, **bounds)
    return parameter(name, (str if simple else kind) | None, option)


def _sentence(text: str | None) -> str:
    text = text or ""
    return f"{text if text[1:2].isupper() else text[:1].upper() + text[1:]}."


def read_settings(
    context: typer.Context, values: dict[str, Any]
) -> tuple[Settings, dict[str, str]]:
    """Return the settings with the flags in ``values`` on top, and where each came from."""
    given = Connection.of(context)
    values = {name: value for name, value in values.items() if value != []}
    return load_settings({**values, "state_dir": given.state_dir}, given.config)


def _serve(context: typer.Context, **values: Any) -> None:
    # The server's packages are of no use to any other command, and slow to load.
    from bootserve.service.run import serve

    values.pop("config")
    settings, _ = read_settings(context, values)
    raise typer.Exit(serve(settings))


def _show(context: typer.Context, **values: Any) -> None:
    values.pop("config")
    out = Output(json=values.pop("json"))
    settings, sources = read_settings(context, values)
    plain = settings.model_dump(mode="json")
    rows = [
        {
            "name": name,
            "value": plain[name],
            "source": sources[name],
            "description": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]
    if out.is_json:
        out.json({"settings": rows})
        return
    out.table(
        ["SETTING", "VALUE", "FROM", "WHAT IT IS"],
        [[row["name"], _text(row["value"]), row["source"], row["description"]] for row in rows],
    )


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value) or "-"
    if isinstance(value, dict):
        return str(value.get("name", value))
    return "-" if value in (None, "") else str(value)
