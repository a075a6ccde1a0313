"""What commands say about a change that was committed."""

from __future__ import annotations

from collections.abc import Callable

from bootserve.cli.client import Reply
from bootserve.cli.output import Output
from bootserve.cli.session import Session
from bootserve.servers.admin.schemas import CommitOut

__all__ = ["nodes_boot", "said", "show_commit"]


def nodes_boot(commit: CommitOut, what: str) -> str:
    """Return how many nodes boot ``what`` from their next boot, and the revision."""
    revision = f"revision {commit.revision.number}" if commit.revision else "nothing was changed"
    if not commit.nodes_changed:
        return f"No node boots anything else than before; {revision}."
    if commit.nodes_changed == 1:
        return f"1 node boots {what} from its next boot; {revision}."
    return f"{commit.nodes_changed} nodes boot {what} from their next boot; {revision}."


def said(sentence: str) -> Callable[[CommitOut], str]:
    """Return what to print of a commit: ``sentence`` and the revision."""

    def text(commit: CommitOut) -> str:
        number = f"; revision {commit.revision.number}" if commit.revision else ""
        return f"{sentence}{number}."

    return text


def show_commit(
    session: Session, reply: Reply[CommitOut], text: Callable[[CommitOut], str]
) -> None:
    """Print what a commit comes to, and its warnings on stderr."""

    def render(out: Output, commit: CommitOut) -> None:
        out.line(text(commit))

    session.show(reply, render)
    for warning in reply.value.warnings:
        session.out.warning(warning)
