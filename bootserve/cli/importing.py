"""``image import``: a bundle, or files that become one, to the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootserve.build.bundle import read_bundle
from bootserve.cli.sending import send
from bootserve.cli.session import Session

__all__ = ["EXAMPLES", "import_image"]

EXAMPLES = ("bootserve image import debian-base.bundle",)


def import_image(
    session: Session,
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A directory that 'image build' wrote.")
    ],
) -> None:
    """Import a bundle as the next generation of its image.

    A bundle whose digest is known already is the generation that has it. What broke off is gone on
    with when the command is run again.
    """
    send(session, read_bundle(bundle))
