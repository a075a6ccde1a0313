"""Commands on images and their generations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bootserve.build.bundle import read_bundle
from bootserve.build.image import build_image, default_cache_dir
from bootserve.cli import complete, image_diff
from bootserve.cli.client import given
from bootserve.cli.command import command, group
from bootserve.cli.importing import EXAMPLES, import_image
from bootserve.cli.meters import build_meter, transfer_meter
from bootserve.cli.options import GenerationArg, ReasonOption, reason
from bootserve.cli.output import Output, human_size, local_time
from bootserve.cli.sending import scratch_folder, send
from bootserve.cli.session import Session
from bootserve.cli.showing import manifest_of, render_generation
from bootserve.cli.transfer import download_bundle
from bootserve.model.generation import GenerationRef, Manifest
from bootserve.servers.admin.schemas_seen import GenerationList, GenerationOut, VerifyOut

__all__ = ["add_commands"]

PANEL = "Images"

CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        metavar="DIR",
        help="Where downloaded packages are kept. Default: ~/.cache/bootserve.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add ``image …`` to ``app``."""
    image = group(app, "image", "Build, import, list, verify and remove image generations.", PANEL)
    command(
        image,
        "build",
        "bootserve image build images/debian-base --import",
        "bootserve image build images/debian-base --output /srv/bundles/debian-base",
    )(build)
    command(image, "import", *EXAMPLES)(import_image)
    command(image, "list", "bootserve image list debian-base --removed")(list_generations)
    command(image, "show", "bootserve image show debian-base@7 --packages")(show)
    command(image, "diff", *image_diff.EXAMPLES)(image_diff.diff)
    command(image, "verify", "bootserve image verify debian-base@7")(verify)
    command(image, "export", "bootserve image export debian-base@7 --output /srv/bundles/7")(export)
    command(image, "revoke", 'bootserve image revoke debian-base@6 -m "its kernel drops packets"')(
        revoke
    )
    command(image, "unrevoke", 'bootserve image unrevoke debian-base@6 -m "it was the cable"')(
        unrevoke
    )
    command(image, "rm", "bootserve image rm debian-base@3")(remove)


def build(
    session: Session,
    definition: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of a definition: it has image.toml.")
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="BUNDLE",
            help="The bundle to write, a directory; one that is there is replaced."
            " Default: NAME.bundle here, or none with --import.",
        ),
    ] = None,
    import_it: Annotated[
        bool, typer.Option("--import", help="Import it as the next generation of its image.")
    ] = False,
    cache_dir: CacheDir = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Unpack the packages anew, though the cache has them.")
    ] = False,
) -> None:
    """Build an image from its definition into a bundle. This needs no server.

    The same definition from the same package versions gives the same bundle, bit for bit.
    """
    if output is None and not import_it:
        output = Path(f"{definition.resolve().name}.bundle")
    cache = (cache_dir or default_cache_dir()).resolve()
    with scratch_folder(cache) as scratch:
        target = output or scratch / "bundle"
        with build_meter(session.out) as tell:
            manifest = build_image(
                definition, output=target, cache_dir=cache, progress=tell, fresh=fresh
            )
        if import_it:
            send(session, read_bundle(target))
        elif session.out.is_json:
            session.out.json({"bundle": str(target), **_summary(manifest)})
        else:
            session.out.line(f"{target}: {manifest.image}, {manifest.digest}")


def _summary(manifest: Manifest) -> dict[str, Any]:
    return {"digest": manifest.digest, "manifest": manifest.model_dump(mode="json")}


def list_generations(
    session: Session,
    image: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help="Only this image's.", autocompletion=complete.images),
    ] = "",
    *,
    removed: Annotated[
        bool, typer.Option("--removed", help="List those too whose artifacts were removed.")
    ] = False,
) -> None:
    """List generations."""
    query = given(removed="true" if removed else "false", image=image)

    def render(out: Output, answer: GenerationList) -> None:
        if not answer.generations:
            out.note("No generations. Import one with 'bootserve image build DIR --import'.")
            return
        revoked = any(one.revoked for one in answer.generations)
        columns = _COLUMNS + ["REVOKED"] * revoked + ["REMOVED"] * removed
        out.table(columns, [_row(one, columns) for one in answer.generations])

    session.show(session.pages("/generations", GenerationList, query=query), render)


_COLUMNS = ["GENERATION", "ARCH", ">SIZE", "IMPORTED", "BY", "DIGEST"]


def _row(one: GenerationOut, columns: list[str]) -> list[str]:
    row = [
        one.name + (" (DAMAGED)" if one.damaged else ""),
        one.arch,
        human_size(one.size),
        local_time(one.imported_at),
        one.imported_by,
        one.digest,
    ]
    if "REVOKED" in columns:
        row.append(local_time(one.revoked.at if one.revoked else None))
    if "REMOVED" in columns:
        row.append(local_time(one.removed_at))
    return row


def show(
    session: Session,
    generation: GenerationArg,
    *,
    packages: Annotated[
        bool, typer.Option("--packages", help="List its packages and their versions.")
    ] = False,
) -> None:
    """Show a generation: its manifest, and what uses it."""
    reply = session.call("GET", f"/generations/{GenerationRef.parse(generation)}", GenerationOut)
    session.show(reply, lambda out, one: render_generation(out, one, packages=packages))


def verify(session: Session, generation: GenerationArg) -> None:
    """Read a generation's artifacts again; one that fails is quarantined.

    Exits with 1 when one did, or is missing.
    """
    path = f"/generations/{GenerationRef.parse(generation)}/verify"
    reply = session.call("POST", path, VerifyOut, patient=True)

    def render(out: Output, found: VerifyOut) -> None:
        for name, result in found.artifacts.items():
            where = ", now in quarantine" if result == "corrupt" else ""
            out.line(f"{name}: {result}{where}", style="" if result == "ok" else "bold red")

    session.show(reply, render)
    if not reply.value.intact:
        raise typer.Exit(1)


def export(
    session: Session,
    generation: GenerationArg,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="BUNDLE", help="The bundle to write; one there is replaced."
        ),
    ],
) -> None:
    """Write a generation as a bundle, every digest checked, for another server to import."""
    ref = GenerationRef.parse(generation)
    shown = session.call("GET", f"/generations/{ref}", GenerationOut).value
    manifest = manifest_of(shown)
    sizes = {name: artifact.size for name, artifact in manifest.artifacts.items()}
    with transfer_meter(session.out, sizes) as moved:
        session.run(lambda api: download_bundle(api, manifest, output, moved))
    if session.out.is_json:
        session.out.json({"bundle": str(output), **_summary(manifest)})
    else:
        session.out.line(f"{output}: {ref}, {manifest.digest}")


def revoke(session: Session, generation: GenerationArg, *, message: ReasonOption) -> None:
    """Have no node given a generation any more: no pin, rollout, rollback or last known good.

    Refused while a pin, a rollout or a node's next boot names it. Its artifacts stay.
    """
    _mark(session, generation, "revoke", message, "no node is given it any more")


def unrevoke(session: Session, generation: GenerationArg, *, message: ReasonOption) -> None:
    """Let nodes be given a revoked generation again."""
    _mark(session, generation, "unrevoke", message, "it may be pinned again")


def _mark(session: Session, generation: str, verb: str, message: str, then: str) -> None:
    path = f"/generations/{GenerationRef.parse(generation)}/{verb}"
    reply = session.call("POST", path, GenerationOut, body={"reason": reason(message)})
    session.show(reply, lambda out, one: out.line(f"{one.name} is {verb}d; {then}."))


def remove(session: Session, generation: GenerationArg) -> None:
    """Remove a generation's artifacts; its manifest is kept.

    Refused while a pin, one of the last 10 revisions or a boot of the last hour uses it.
    """
    path = f"/generations/{GenerationRef.parse(generation)}"
    reply = session.call("DELETE", path, GenerationOut)
    session.show(reply, lambda out, one: out.line(f"{one.name} is removed; its manifest is kept."))
