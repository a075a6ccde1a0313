"""How the phases of boots are shown as one timeline each."""

from __future__ import annotations

from typing import Any

from bootserve.cli.output import Output, local_time
from bootserve.cli.session import Session
from bootserve.servers.admin.schemas_seen import BootList, BootOut, PhaseOut

__all__ = ["show_timeline"]


def show_timeline(session: Session, answer: BootList) -> None:
    """Print each boot with its phases, in seconds since the first of them, newest boot first."""
    if session.out.is_json:
        session.out.json({"boots": [_as_json(boot) for boot in answer.boots]})
        return
    for boot in answer.boots:
        _render(session.out, boot)
    if not answer.boots:
        session.out.note("No boots.")


def _in_order(boot: BootOut) -> list[PhaseOut]:
    return sorted(boot.phases, key=lambda phase: phase.at)


def _as_json(boot: BootOut) -> dict[str, Any]:
    phases = _in_order(boot)
    started = phases[0].at if phases else boot.at
    told = boot.model_dump(mode="json", include=set(BootOut.model_fields) - {"phases"})
    return {
        **told,
        "started_at": started,
        "phases": [
            {"seconds": round(phase.at - started, 3), **phase.model_dump(mode="json")}
            for phase in phases
        ],
    }


def _render(out: Output, boot: BootOut) -> None:
    phases = _in_order(boot)
    started = phases[0].at if phases else boot.at
    out.line(
        f"{local_time(started)}  {boot.node}  {boot.generation}  revision {boot.revision}"
        f"  {boot.mac}  {boot.address}  {boot.id}",
        style="bold",
    )
    out.table(
        [">  SECONDS", "PHASE", "DETAIL"],
        [[f"{one.at - started:.2f}", one.phase, out.block(one.detail)] for one in phases],
    )
