"""Roles and racks: what nodes are grouped by, and the kernel arguments that come with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from bootserve.core.fleet import node_of
from bootserve.core.snapshot import Snapshot
from bootserve.core.transactions import Change, remove_role, set_rack, set_role
from bootserve.errors import InvalidInput
from bootserve.model.desired import DesiredState, Node, Rack, Role, ScopeKind
from bootserve.model.names import check_kernel_args, check_name
from bootserve.servers.admin.commits import commit
from bootserve.servers.admin.needs import OPERATOR, VIEWER, anywhere, named
from bootserve.servers.admin.paging import PageQuery, page
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas import (
    CommitOut,
    MessageQuery,
    RackBody,
    RackList,
    RackOut,
    RoleBody,
    RoleList,
    RoleOut,
)

__all__ = ["routes"]


def _role_change(name: str, image: str | None, kernel_args: str | None) -> Change:
    def change(state: DesiredState) -> DesiredState:
        old = state.roles.get(name)
        if old is None and not image:
            raise InvalidInput(f"role {name} is new: name the image that its nodes run")
        role = Role(
            name,
            image if image is not None else old.image if old else "",
            kernel_args if kernel_args is not None else old.kernel_args if old else "",
        )
        return set_role(role)(state)

    return change


def _sizes(snapshot: Snapshot, of: Callable[[Node], str]) -> Counter[str]:
    """Return how many nodes each role or rack has, counted by groups of like nodes."""
    count: Counter[str] = Counter()
    for group, nodes in snapshot.fleet.groups.items():
        if name := of(node_of(group)):
            count[name] += nodes
    return count


class _Groups:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane

    async def roles(self, call: Call[Request, PageQuery]) -> RoleList:
        snapshot = self._plane.current.snapshot
        count = _sizes(snapshot, lambda node: node.role)
        roles, more = page(snapshot.state.roles.values(), lambda role: role.name, call.query)
        return RoleList(
            revision=snapshot.revision.number,
            next=more,
            roles=[
                RoleOut(
                    name=role.name,
                    image=role.image,
                    kernel_args=role.kernel_args,
                    nodes=count[role.name],
                )
                for role in roles
            ],
        )

    async def put_role(self, call: Call[RoleBody, NoQuery]) -> CommitOut:
        body, name = call.body, check_name(call.path["name"], "role name")
        args = body.kernel_args
        change = _role_change(
            name,
            check_name(body.image, "image name") if body.image else body.image,
            check_kernel_args(args) if args is not None else None,
        )
        return await self._commit(change, call, body.message or f"set role {name}")

    async def remove_role(self, call: Call[Request, MessageQuery]) -> CommitOut:
        name = call.path["name"]
        message = call.query.message or f"remove role {name}"
        return await self._commit(remove_role(name), call, message)

    async def racks(self, call: Call[Request, PageQuery]) -> RackList:
        snapshot = self._plane.current.snapshot
        state = snapshot.state
        count = _sizes(snapshot, lambda node: node.rack)
        args = {name: rack.kernel_args for name, rack in state.racks.items()}
        names, more = page(count.keys() | args.keys(), str, call.query)
        return RackList(
            revision=snapshot.revision.number,
            next=more,
            racks=[
                RackOut(name=name, kernel_args=args.get(name, ""), nodes=count[name])
                for name in names
            ],
        )

    async def put_rack(self, call: Call[RackBody, NoQuery]) -> CommitOut:
        body, name = call.body, check_name(call.path["name"], "rack name")
        rack = Rack(name, check_kernel_args(body.kernel_args))
        message = body.message or f"set rack {name}"
        return await self._commit(set_rack(rack), call, message)

    async def _commit(self, change: Change, call: Call[Any, Any], message: str) -> CommitOut:
        return await commit(self._plane, call, change, message)


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of roles and racks."""
    groups, listed = _Groups(plane), anywhere(VIEWER)
    role, rack, of_role = "/roles/{name}", "/racks/{name}", named(OPERATOR, ScopeKind.ROLE)
    return [
        Route("GET", "/roles", "List roles", groups.roles, RoleList, query=PageQuery, needs=listed),
        Route(
            "PUT",
            role,
            "Create or change a role",
            groups.put_role,
            CommitOut,
            RoleBody,
            needs=of_role,
        ),
        Route(
            "DELETE",
            role,
            "Remove it",
            groups.remove_role,
            CommitOut,
            query=MessageQuery,
            needs=of_role,
        ),
        Route("GET", "/racks", "List racks", groups.racks, RackList, query=PageQuery, needs=listed),
        Route(
            "PUT",
            rack,
            "Set a rack's kernel arguments",
            groups.put_rack,
            CommitOut,
            RackBody,
            needs=named(OPERATOR, ScopeKind.RACK),
        ),
    ]
