"""``would-change``: which nodes would boot something else than they run, and what differs."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated, Any

import typer

from bootserve.cli import complete
from bootserve.cli.command import command
from bootserve.cli.image_diff import Difference, difference, show_difference
from bootserve.cli.session import Session
from bootserve.core.site.wording import host_list
from bootserve.core.would_change import Why
from bootserve.errors import BootserveError
from bootserve.model.desired import Scope
from bootserve.model.generation import GenerationRef
from bootserve.servers.admin.schemas_would_change import WouldChangeOut

__all__ = ["add_commands"]

FILES = 10
PAGE = 5000
"""Nodes that are asked for at once: the most that a page may have."""


def add_commands(app: typer.Typer) -> None:
    """Add ``would-change`` to ``app``."""
    command(
        app,
        "would-change",
        "bootserve would-change",
        "bootserve would-change rack/r12",
        panel="Pins",
    )(would_change)


def would_change(
    session: Session,
    scope: Annotated[
        str,
        typer.Argument(
            metavar="SCOPE",
            help="node/NAME, rack/NAME, role/NAME or site.",
            autocompletion=complete.scopes,
        ),
    ] = "site",
) -> None:
    """Show which nodes would boot something else if they rebooted now, and what differs.

    What a node runs is what its newest boot that came up reported.
    """
    query: dict[str, str | int] = {"scope": str(Scope.parse(scope)), "limit": PAGE}
    reply = session.pages("/would-change", WouldChangeOut, query=query, counted=("unchanged",))
    found = reply.value
    pairs = sorted({(one.running, one.next) for one in found.nodes if one.running != one.next})
    differences = [made for pair in pairs if (made := _difference(session, *pair)) is not None]
    if session.out.is_json:
        raw: dict[str, Any] = reply.raw
        session.out.json({**raw, "differences": [one.document() for one in differences]})
        return
    for sentence in _sentences(found):
        session.out.line(sentence)
    for one in differences:
        session.out.line("")
        session.out.line(f"{one.before} → {one.after}: {one.summary()}", style="bold")
        show_difference(session.out, one)


def _difference(session: Session, before: str, after: str) -> Difference | None:
    """Return what differs; None when one of the two is no generation that is known here."""
    try:
        refs = GenerationRef.parse(before), GenerationRef.parse(after)
        return difference(session, *refs, limit=FILES)
    except BootserveError as error:
        if "@" in before and "@" in after:
            session.out.note(f"{before} and {after} are not compared: {error}")
        return None


def _sentences(found: WouldChangeOut) -> list[str]:
    alike: dict[tuple[str, str, str, Why], list[str]] = defaultdict(list)
    for node in found.nodes:
        alike[node.rack, node.running, node.next, node.why].append(node.node)
    lines = [_sentence(key, names) for key, names in sorted(alike.items())]
    if found.unchanged:
        count = "1 node" if found.unchanged == 1 else f"{found.unchanged} nodes"
        lines.append(
            f"{count} would boot what {'it runs' if found.unchanged == 1 else 'they run'}."
        )
    if found.unknown:
        lines.append(f"Never reported that they are up: {host_list(found.unknown)}.")
    return lines or ["There are no nodes."]


def _sentence(key: tuple[str, str, str, Why], names: list[str]) -> str:
    rack, running, after, why = key
    one = len(names) == 1
    who = f"Node {names[0]}" if one else f"{len(names)} nodes"
    where = f" of rack {rack}" if rack else ""
    match why:
        case Why.ARGUMENTS:
            what = "it with other kernel arguments"
        case Why.ONCE:
            what = f"{after}, once"
        case Why.GENERATION:
            what = after.replace("they hold", "it holds") if one else after
    listed = "" if one else f": {host_list(names)}"
    return f"{who}{where} {'runs' if one else 'run'} {running} and would boot {what}{listed}."
