"""Completion of names in the shell, from the running server; silent when it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import typer

from bootserve.cli.client import Api, Endpoint
from bootserve.cli.session import Connection
from bootserve.errors import BootserveError
from bootserve.servers.admin.routing import Answer
from bootserve.servers.admin.schemas import NodeList, RackList, RoleList
from bootserve.servers.admin.schemas_nbp import NbpList
from bootserve.servers.admin.schemas_reboots import HookList
from bootserve.servers.admin.schemas_rollout import RolloutList
from bootserve.servers.admin.schemas_seen import DiscoveredList, GenerationList

__all__ = [
    "generations",
    "hooks",
    "images",
    "macs",
    "nbps",
    "nodes",
    "once_actions",
    "racks",
    "roles",
    "rollouts",
    "scopes",
]

SECONDS = 2.0
MOST_NODES = 1000


def _ask(
    context: typer.Context,
    *questions: tuple[str, type[Answer]],
    query: Mapping[str, str | int] | None = None,
    most: int | None = None,
) -> list[Answer]:
    async def ask(endpoint: Endpoint) -> list[Answer]:
        async with asyncio.timeout(SECONDS), Api(endpoint) as api:
            return [
                (await api.pages(path, answer, query=query, most=most)).value
                for path, answer in questions
            ]

    try:
        return asyncio.run(ask(Connection.of(context).endpoint()))
    except (BootserveError, OSError):
        # The shell shows what is printed here in the middle of the line that is being typed.
        return []


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})


def _names(answers: Iterable[Answer]) -> Iterable[str]:
    for answer in answers:
        match answer:
            case NodeList():
                yield from (node.name for node in answer.nodes)
            case RackList():
                yield from (rack.name for rack in answer.racks)
            case RoleList():
                yield from (role.name for role in answer.roles)
            case GenerationList():
                yield from (one.name for one in answer.generations)
            case NbpList():
                yield from (one.name for one in answer.nbps)
            case HookList():
                yield from (hook.name for hook in answer.hooks)
            case RolloutList():
                yield from (str(one.number) for one in answer.rollouts)
            case DiscoveredList():
                yield from (machine.mac for machine in answer.machines)


Completer = Callable[[typer.Context, str], list[str]]


def _completer(path: str, answer: type[Answer]) -> Completer:
    def complete(context: typer.Context, incomplete: str) -> list[str]:
        return _starting(_names(_ask(context, (path, answer))), incomplete)

    return complete


racks = _completer("/racks", RackList)
roles = _completer("/roles", RoleList)
generations = _completer("/generations", GenerationList)
nbps = _completer("/nbps", NbpList)
hooks = _completer("/hooks", HookList)
macs = _completer("/discovered", DiscoveredList)
rollouts = _completer("/rollouts", RolloutList)


def nodes(context: typer.Context, incomplete: str) -> list[str]:
    """Return the nodes whose names begin so: one page of them, however many there are."""
    query: dict[str, str | int] = {"prefix": incomplete, "limit": MOST_NODES}
    return _starting(
        _names(_ask(context, ("/nodes", NodeList), query=query, most=MOST_NODES)), incomplete
    )


def once_actions(context: typer.Context, incomplete: str) -> list[str]:
    """Return what a node's next boot only can do."""
    return _starting(["local", "script", *generations(context, incomplete)], incomplete)


def images(context: typer.Context, incomplete: str) -> list[str]:
    """Return the images that have generations or that a role names."""
    found = _ask(context, ("/generations", GenerationList), ("/roles", RoleList))
    names = [
        *(
            one.name.rpartition("@")[0]
            for a in found
            if isinstance(a, GenerationList)
            for one in a.generations
        ),
        *(role.image for a in found if isinstance(a, RoleList) for role in a.roles),
    ]
    return _starting(names, incomplete)


def scopes(context: typer.Context, incomplete: str) -> list[str]:
    """Return the scopes that a pin may be set on."""
    kinds: dict[str, Completer] = {"node": nodes, "rack": racks, "role": roles}
    kind, slash, name = incomplete.partition("/")
    if not slash:
        return _starting(["site", *(f"{kind}/" for kind in kinds)], incomplete)
    if kind not in kinds:
        return []
    return [f"{kind}/{found}" for found in kinds[kind](context, name)]
