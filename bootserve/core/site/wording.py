"""The effects of a change in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bootserve.core.site.changes import Changes
from bootserve.core.site.effects import Effect, EffectKind
from bootserve.core.site.patterns import fold, split_name
from bootserve.model.desired import DesiredState, Rack, Role

__all__ = ["host_list", "listed", "sentences"]

MAX_SHOWN = 200
"""Characters of host lists in a sentence."""


def sentences(effects: Iterable[Effect]) -> list[str]:
    """Return a sentence for each effect, those of unchanged nodes joined to what changed.

    ``14 nodes of rack r12 go from k8s-node@40 to @41 at their next boot; 2 are unchanged because
    of a node pin.``
    """
    all_of_them = list(effects)
    kept = [one for one in all_of_them if one.kind is EffectKind.UNCHANGED]
    found, told = [], set[Effect]()
    for one in all_of_them:
        if one.kind is EffectKind.UNCHANGED:
            continue
        text = _sentence(one)
        for other in kept:
            if other not in told and _belongs(other, one):
                told.add(other)
                text += f"; {len(other.nodes)} {_be(other)} unchanged because of {other.after}"
        found.append(text + ".")
    return found + [
        f"{_who(one)} {_be(one)} unchanged because of {one.after}."
        for one in kept
        if one not in told
    ]


def _belongs(unchanged: Effect, changed: Effect) -> bool:
    image = changed.after.rpartition("@")[0] or changed.before.rpartition("@")[0]
    return (
        changed.kind is EffectKind.BOOTS
        and unchanged.rack == changed.rack
        and unchanged.before == image
    )


def _who(effect: Effect) -> str:
    one = len(effect.nodes) == 1
    who = f"Node {effect.nodes[0]}" if one else f"{len(effect.nodes)} nodes"
    return f"{who} of rack {effect.rack}" if effect.rack else who


def _be(effect: Effect) -> str:
    return "is" if len(effect.nodes) == 1 else "are"


def _sentence(effect: Effect) -> str:
    one = len(effect.nodes) == 1
    next_boot = "at its next boot" if one else "at their next boot"
    match effect.kind:
        case EffectKind.BOOTS:
            return f"{_who(effect)} {_moves(effect, one)} {next_boot}"
        case EffectKind.ADDED:
            boots = _boots(effect.after, one)
            return f"{_who(effect)} {'is' if one else 'are'} added and {boots} {next_boot}"
        case EffectKind.REMOVED:
            gone = "is removed; until now it" if one else "are removed; until now they"
            return f"{_who(effect)} {gone} {_boots(effect.before, one)}"
        case EffectKind.ARGUMENTS:
            get = "gets" if one else "get"
            return f"{_who(effect)} {get} other kernel arguments with {effect.after} {next_boot}"
        case EffectKind.NBP:
            load = "loads" if one else "load"
            who = _who(effect)
            return f"{who} {load} NBP {effect.after} in place of {effect.before} {next_boot}"
        case _:
            change = "changes" if one else "change"
            return f"{_who(effect)} {change} in {effect.after} and {_boots('as before', one)}"


def _moves(effect: Effect, one: bool) -> str:
    before, after = effect.before, effect.after
    if "@" in before and "@" in after:
        image, _, number = after.rpartition("@")
        short = f"@{number}" if before.rpartition("@")[0] == image else after
        return f"{'goes' if one else 'go'} from {before} to {short}"
    return f"{_boots(after, one)} in place of {before}"


def _boots(what: str, one: bool) -> str:
    said = what.replace("they hold", "it holds").replace("their pin", "its pin") if one else what
    return f"{'boots' if one else 'boot'} {said}"


def host_list(names: Sequence[str]) -> str:
    """Return ``names`` as host lists, cut with a count when they are long."""
    groups: dict[tuple[str, str, int], list[int]] = {}
    plain: list[str] = []
    for name in names:
        parts = split_name(name)
        if parts is None:
            plain.append(name)
            continue
        head, number, _, tail = parts
        groups.setdefault((head, tail, len(name) - len(head) - len(tail)), []).append(number)
    texts = [
        f"{head}{fold(sorted(numbers), lambda n, w=width: str(n).zfill(w))}{tail}"  # type: ignore[misc]
        for (head, tail, width), numbers in sorted(groups.items())
    ]
    return _cut([*texts, *sorted(plain)])


def _cut(texts: Sequence[str]) -> str:
    shown: list[str] = []
    for place, text in enumerate(texts):
        if shown and len(", ".join([*shown, text])) > MAX_SHOWN:
            return f"{', '.join(shown)}, … and {len(texts) - place} more"
        shown.append(text)
    return ", ".join(shown)


def listed(changes: Changes, before: DesiredState) -> list[str]:
    """Return a line for each thing that ``changes`` add (+), change (~) or remove (-).

    Nodes are told together, as host lists.
    """
    lines = []
    for name, role in sorted(changes.roles.items()):
        lines.append(_line("role", name, before.roles.get(name), role))
    for name, rack in sorted(changes.racks.items()):
        lines.append(_line("rack", name, before.racks.get(name), rack))
    for sign, names in _signed(changes, before).items():
        if names:
            count = "1 node" if len(names) == 1 else f"{len(names)} nodes"
            lines.append(f"{sign} {count}: {host_list(sorted(names))}")
    for key, pin in sorted(changes.pins.items(), key=lambda item: item[0]):
        was = before.pins.get(key)
        old, new = was and was.generation, pin and pin.generation
        lines.append(_pin_line(f"pin {key.scope}", str(old or ""), str(new or "")))
    for nbp_key, nbp in sorted(changes.nbp_pins.items(), key=lambda item: item[0]):
        had = before.nbp_pins.get(nbp_key)
        what = f"NBP pin {nbp_key.scope} for {nbp_key.arch}"
        lines.append(_pin_line(what, had.nbp if had else "", nbp.nbp if nbp else ""))
    return lines


def _signed(changes: Changes, before: DesiredState) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"+": [], "~": [], "-": []}
    for name, node in changes.nodes.items():
        found["-" if node is None else "~" if name in before.nodes else "+"].append(name)
    return found


def _pin_line(what: str, old: str, new: str) -> str:
    if not new:
        return f"- {what} {old}"
    return f"~ {what} {old} → {new}" if old else f"+ {what} {new}"


def _line(what: str, name: str, old: Role | Rack | None, new: Role | Rack | None) -> str:
    if new is None:
        return f"- {what} {name}"
    fields = ("image", "kernel_args") if isinstance(new, Role) else ("kernel_args",)
    if old is None:
        said = [f"{one} {getattr(new, one)!r}" for one in fields if getattr(new, one)]
        return f"+ {what} {name}" + (f": {', '.join(said)}" if said else "")
    told = [
        f"{one} {getattr(old, one)!r} → {getattr(new, one)!r}"
        for one in fields
        if getattr(old, one) != getattr(new, one)
    ]
    return f"~ {what} {name}: {', '.join(told)}"
