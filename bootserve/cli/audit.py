"""``bootserve audit``: who did what and when, and the proof that nothing of it was changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack

import typer

from bootserve.cli import complete
from bootserve.cli.client import Api, given
from bootserve.cli.command import CONNECTION, JSON, command, flowing, group, signature_of, take
from bootserve.cli.output import Output, local_time
from bootserve.cli.session import Connection, Session
from bootserve.cli.times import TIME_HELP, epoch
from bootserve.core.audit_file import FileVerdict, verify_file
from bootserve.core.audit_sign import PublicKeys, parse_public_key
from bootserve.core.audit_words import describe
from bootserve.errors import InvalidInput
from bootserve.model.audit import AuditKind
from bootserve.servers.admin.schemas_audit import (
    AuditHeadOut,
    AuditKeyOut,
    AuditPage,
    AuditRecordOut,
    FindingOut,
    VerdictOut,
)
from bootserve.store.files import replacing

__all__ = ["add_commands"]

PANEL = "Look"
FOLLOW_SECONDS = 1.0

Key = Annotated[
    list[Path] | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="A public key that you trust ('bootserve audit key'); repeat it for several.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add ``audit`` and its commands to ``app``."""
    about = flowing(list_records.__doc__ or "")
    audit = group(app, "audit", about, PANEL)
    audit.info.no_args_is_help = False

    def run(context: typer.Context, **values: Any) -> None:
        if context.invoked_subcommand is None:
            is_json = values.pop("json")
            for shared in CONNECTION:
                del values[shared.name]
            list_records(Session(Connection.of(context), json=is_json), **values)

    take(run, [*signature_of(list_records), JSON, *CONNECTION])
    audit.callback(
        invoke_without_command=True,
        help=about,
        epilog="Example:\n\n[bold]bootserve audit --since 7d --rack r12[/bold]",
        no_args_is_help=False,
    )(run)
    command(
        audit,
        "verify",
        "bootserve audit verify",
        "bootserve audit verify march.jsonl --key audit.pub",
    )(verify)
    command(
        audit, "export", "bootserve audit export --from 2026-03-01 --to 2026-04-01 -o march.jsonl"
    )(export)
    command(audit, "key", "bootserve audit key")(key)
    command(audit, "head", "bootserve audit head")(head)


class Filters(TypedDict):
    """Which records are wanted."""

    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help=f"Only what was done since {TIME_HELP}"),
    ]
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only what was done before.")
    ]
    actor: Annotated[
        str | None,
        typer.Option("--actor", metavar="SUBJECT", help="Only what this subject did: ada, node/N."),
    ]
    node: Annotated[
        str | None,
        typer.Option(
            "--node",
            metavar="NODE",
            help="Only what concerns this node.",
            autocompletion=complete.nodes,
        ),
    ]
    rack: Annotated[
        str | None,
        typer.Option(
            "--rack",
            metavar="RACK",
            help="Only what concerns this rack, or a node that was in it then.",
            autocompletion=complete.racks,
        ),
    ]
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help=f"One of {', '.join(AuditKind)}.",
            autocompletion=lambda incomplete: [
                str(one) for one in AuditKind if one.startswith(incomplete)
            ],
        ),
    ]


def list_records(
    session: Session,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 50,
    before: Annotated[
        int | None, typer.Option("--before", metavar="ID", help="Only what came before this id.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing records as they come.")
    ] = False,
    **filters: Unpack[Filters],
) -> None:
    """List who did what, and when: changes by people and programs, and what nodes did.

    Every record is chained to the one before it; 'bootserve audit verify' proves that none was
    changed, 'bootserve audit export' makes a signed file of them.
    """
    query = {**given(limit=min(limit, 1000), before=before), **_query(filters)}
    reply = session.pages("/audit", AuditPage, query=query, most=limit)
    if follow:
        _follow(session, query, reply.value.records)
    else:
        session.show(reply, _render)


def _query(filters: Filters) -> dict[str, str | int]:
    kind = filters["kind"]
    if kind and kind not in set(AuditKind):
        raise typer.BadParameter(f"there is no {kind!r}", param_hint="--kind")
    times: tuple[Literal["since", "until"], ...] = ("since", "until")
    bounds = {name: repr(epoch(text, f"--{name}")) for name in times if (text := filters[name])}
    words = {name: filters[name] for name in ("actor", "node", "rack")}
    return given(**bounds, **words, kind=kind)


def _render(out: Output, page: AuditPage) -> None:
    if not page.records:
        out.note("No records.")
        return
    out.table(
        ["TIME", "SUBJECT", "KIND", ">REVISION", "WHAT", ">ID"],
        [
            [
                local_time(one.at),
                one.subject,
                one.kind,
                "" if one.revision is None else one.revision,
                _what(one),
                one.id,
            ]
            for one in page.records
        ],
    )


def _what(record: AuditRecordOut) -> str:
    """Return what was done, with the one node or rack that it was done to."""
    words = describe(record.model_dump())
    about = record.about[0] if len(record.about) == 1 else ""
    if about in ("", record.subject) or about in words:
        return words
    return f"{about}: {words}"


def _follow(session: Session, query: dict[str, str | int], records: list[AuditRecordOut]) -> None:
    """Print ``records``, the newest first, and what comes after them until interrupted."""
    wanted = {name: value for name, value in query.items() if name != "before"}

    async def run(api: Api) -> None:
        last = max((one.id for one in records), default=0)
        _print_lines(session.out, reversed(records))
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            reply = await api.call("GET", "/audit", AuditPage, query={**wanted, "after": last})
            _print_lines(session.out, iter(reply.value.records))
            last = max((one.id for one in reply.value.records), default=last)

    session.run(run)


def _print_lines(out: Output, records: Iterator[AuditRecordOut]) -> None:
    for one in records:
        if out.is_json:
            print(json.dumps(one.model_dump()), flush=True)
        else:
            out.line(f"{local_time(one.at)}  {one.subject}  {one.kind}  {_what(one)}")


def verify(
    session: Session,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="An export; without one, the server's own log."),
    ] = None,
    *,
    key: Key = None,
    head: Annotated[
        list[Path] | None,
        typer.Option(
            "--head", metavar="FILE", help="Signed heads that were kept ('bootserve audit head')."
        ),
    ] = None,
) -> None:
    """Verify that no record was altered, removed, moved or cut off. Exits with 1 when one was.

    A FILE is verified with the public keys given, and no server. Without one the server verifies
    all it holds, against its signed checkpoints and the heads that it keeps outside of the
    database.
    """
    if file is not None:
        _verify_file(session.out, file, key or [])
        return
    body = {
        "keys": [_read(one) for one in key or []],
        "heads": [_read_json(one) for one in head or []],
    }
    reply = session.call("POST", "/audit/verify", VerdictOut, body=body, patient=True)
    session.show(reply, _render_verdict)
    if not reply.value.intact:
        raise typer.Exit(1)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read {path}: {error}") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except ValueError:
        raise InvalidInput(f"{path} is not JSON") from None


def _render_verdict(out: Output, verdict: VerdictOut) -> None:
    out.table(
        ["SERVER", "CHAIN", ">FIRST", ">LAST", ">RECORDS", ">PRUNED"],
        [
            [one.server[:8], one.chain, one.first, one.last, one.records, one.pruned]
            for one in verdict.chains
        ],
    )
    for name in verdict.unchecked:
        out.warning(f"what the key {name} signed was not checked: pass its public half with --key")
    _conclude(out, verdict.findings, verdict.found, f"{verdict.checkpoints} signed checkpoints")


def _conclude(out: Output, findings: list[FindingOut], found: int, proof: str) -> None:
    for one in findings:
        out.line(f"{one.problem}: {one.chain}: {one.text}", style="red")
    if found > len(findings):
        out.line(f"and {found - len(findings)} more", style="red")
    if found:
        out.line("The audit log is NOT intact.", style="bold red")
    else:
        out.line(f"Intact; {proof} hold.", style="green")


def _verify_file(out: Output, path: Path, keys: list[Path]) -> None:
    if not keys:
        raise typer.BadParameter(
            "name the public key to trust: 'bootserve audit key' printed it", param_hint="--key"
        )
    trusted = PublicKeys([parse_public_key(_read(one)) for one in keys])
    try:
        with path.open("rb") as lines:
            verdict = verify_file(lines, trusted)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None
    findings = [FindingOut.model_validate(one, from_attributes=True) for one in verdict.findings]
    if out.is_json:
        out.json(_file_json(verdict, findings))
    else:
        _render_file(out, verdict)
        proof = f"the signature of the file and {verdict.checkpoints} signed checkpoints"
        _conclude(out, findings, verdict.found, proof)
    if verdict.found:
        raise typer.Exit(1)


def _file_json(verdict: FileVerdict, findings: list[FindingOut]) -> dict[str, Any]:
    return {
        "intact": not verdict.found,
        "server": verdict.header.get("server"),
        "records": verdict.records,
        "checkpoints": verdict.checkpoints,
        "found": verdict.found,
        "findings": [one.model_dump() for one in findings],
        "unchecked": sorted(verdict.unchecked),
    }


def _render_file(out: Output, verdict: FileVerdict) -> None:
    header = verdict.header
    rows = [
        [name, one["before"]["sequence"] + 1, one["last"]["sequence"], one["count"]]
        for name, one in header["chains"].items()
    ]
    out.line(f"Server {header['server']}, exported {local_time(header.get('exported_at'))}")
    out.table(["CHAIN", ">FIRST", ">LAST", ">RECORDS"], rows)


def export(
    session: Session,
    *,
    start: Annotated[
        str, typer.Option("--from", metavar="TIME", help=f"The first record's time: {TIME_HELP}")
    ] = "",
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="The end of that time.")] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it; else stdout."),
    ] = None,
) -> None:
    """Export records as JSON lines, signed: verified with the public key and nothing else.

    To keep their chains whole, every record between the first and the last of that time is there.
    """
    query = {
        name: repr(epoch(text, option))
        for name, text, option in (("since", start, "--from"), ("until", to, "--to"))
        if text
    }

    async def run(api: Api, put: Callable[[bytes], Any]) -> None:
        async for data in api.download("/audit/export", query):
            put(data)

    if output is None:
        session.run(lambda api: run(api, lambda data: session.out.raw(data.decode())))
        return
    try:
        with replacing(output, 0o644) as file:
            session.run(lambda api: run(api, file.write))
    except OSError as error:
        raise InvalidInput(f"cannot write {output}: {error.strerror}") from None
    session.out.note(
        f"Written to {output}. Verify it with 'bootserve audit verify {output} --key'."
    )


def key(session: Session) -> None:
    """Print the public key that the audit log is signed with (PEM). Keep a copy elsewhere."""
    reply = session.call("GET", "/audit/key", AuditKeyOut)
    session.show(reply, lambda out, shown: out.raw(shown.pem))


def head(session: Session) -> None:
    """Print the last records of the server's chains, signed, as JSON.

    Keep it elsewhere: 'bootserve audit verify --head FILE' then proves that nothing up to it was
    changed or cut off, even by who holds the server's key.
    """
    reply = session.call("GET", "/audit/head", AuditHeadOut)
    session.show(reply, lambda out, shown: out.raw(json.dumps(reply.raw) + "\n"))
