"""Streams a bundle to the server and says which generation it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootserve.build.bundle import Bundle
from bootserve.cli.meters import transfer_meter
from bootserve.cli.output import Output, human_size
from bootserve.cli.session import Session
from bootserve.cli.transfer import upload_bundle
from bootserve.servers.admin.schemas_seen import ImportOut

__all__ = ["scratch_folder", "send"]


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in ``parent``, which is made if missing; it is gone afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=parent) as made:
        yield Path(made)


def send(session: Session, bundle: Bundle) -> None:
    """Stream ``bundle`` to the server and print the generation that it is there."""
    sizes = {name: artifact.size for name, artifact in bundle.manifest.artifacts.items()}
    with transfer_meter(session.out, sizes) as moved:
        reply = session.run(lambda api: upload_bundle(api, bundle, moved))
    session.show(reply, _imported)


def _imported(out: Output, done: ImportOut) -> None:
    one = done.generation
    if done.created:
        out.line(f"{one.name} is imported, {human_size(one.size)}. Pin it with 'bootserve pin'.")
    else:
        out.line(f"{one.name} has this digest already; nothing was imported.")
    if one.revoked:
        out.note(f"{one.name} was revoked by {one.revoked.by}: {one.revoked.reason}")
