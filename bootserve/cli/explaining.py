"""How an explanation of a node's next boot is shown."""

from __future__ import annotations

from bootserve.cli.once import once_text
from bootserve.cli.output import Output, local_time
from bootserve.servers.admin.schemas_nbp import NbpChoiceOut
from bootserve.servers.admin.schemas_seen import BootOut, ExplainOut, OfferOut

__all__ = ["nbps_text", "render_explanation"]


def render_explanation(out: Output, found: ExplainOut) -> None:
    """Print why a node boots what it boots, and the script it would be served now."""
    node = found.node
    where = [f"rack {node.rack}" if node.rack else "", f"role {node.role}" if node.role else ""]
    rows = [
        ("Node", ", ".join([node.name, *filter(None, where), node.arch])),
        ("MAC", "\n".join(node.macs)),
        ("Image", f"{found.image}, from {found.image_from}" if found.image else "none"),
        ("Once, before that", _once(found)),
        ("Next boot", _outcome(found)),
        ("Why", node.reason),
        ("Degraded", found.degraded),
        ("Waits", found.waits),
        ("Pin that decides", found.pin or "none"),
        ("Pins that do not", _lost(found)),
        ("NBP", nbps_text(found.nbps)),
        ("Kernel arguments", _kernel_args(found)),
        ("UEFI PXE offer", _offers(found)),
        ("Last boot", _last_boot(found.last_boot)),
        ("Revision", str(found.revision)),
    ]
    out.pairs([(name, value) for name, value in rows if value])
    out.line("")
    out.line("The script it would be served now:", style="bold")
    out.raw(found.script if found.script.endswith("\n") else found.script + "\n")


def _outcome(found: ExplainOut) -> str:
    match found.node.action:
        case "boot":
            return found.node.generation
        case "local":
            return "its own disk"
        case "hold":
            return "none: it holds and asks again"
        case other:
            return other


def nbps_text(choices: list[NbpChoiceOut]) -> str:
    """Return the NBPs that are pinned for a node, a line for each kind of firmware."""
    return "\n".join(
        f"{one.arch}: {one.nbp}, pin {one.scope}"
        + (f"; not offered, and no other is: {one.problem}" if one.problem else "")
        for one in choices
    )


def _once(found: ExplainOut) -> str:
    if found.once is None:
        return ""
    return f"{once_text(found.once)}, set by {found.once.set_by} {local_time(found.once.set_at)}"


def _lost(found: ExplainOut) -> str:
    return "\n".join(f"{one.scope} {one.generation}: {one.reason}" for one in found.lost)


def _offers(found: ExplainOut) -> str:
    lines = [f"{one.shape}, {_why(one)}" for one in found.offers]
    if len(set(lines)) == 1:
        return lines[0]
    pairs = zip(lines, found.offers, strict=True)
    return "\n".join(f"{line}  (NIC {one.mac})" for line, one in pairs)


def _why(offer: OfferOut) -> str:
    match offer.source:
        case "setting":
            return "set on the node"
        case "trial":
            return "since the other shape did not work just now"
        case "learned":
            return f"learned at {local_time(offer.at)}"
        case "quirk":
            return f"by quirk {offer.detail}"
        case _:
            return "the server's default"


def _kernel_args(found: ExplainOut) -> str:
    return "\n".join(f"{text}  (from {source})" for source, text in found.kernel_args)


def _last_boot(boot: BootOut | None) -> str:
    if boot is None:
        return "never"
    last = max(boot.phases, key=lambda phase: phase.at, default=None)
    reached = f", reached {last.phase} after {last.at - boot.at:.1f} s" if last else ""
    return f"{boot.generation} at {local_time(boot.at)}{reached}"
