"""The OpenAPI 3.1 document, generated from the routes and the models that validate them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from bootserve import __version__
from bootserve.servers.admin.routing import PREFIX, Empty, Route
from bootserve.servers.admin.schemas import CommitOut, Stated

__all__ = ["document"]

REF = "#/components/schemas/{model}"
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457). type is stable; hint says what to do next.",
    "properties": {
        "type": {"type": "string", "pattern": "^urn:bootserve:problem:[a-z-]+$"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
        "retry_after": {"type": "integer", "description": "seconds to wait"},
        "revision": {"type": "integer", "description": "the current revision"},
        "changes": {"type": "array", "description": "what changed since, newest first"},
    },
    "required": ["type", "title", "status", "detail"],
}
PROBLEMS = {
    400: "malformed",
    401: "no valid login",
    403: "not allowed",
    404: "there is no such thing",
    409: "the state is not what the request assumes",
    412: "the revision in If-Match is not the current one",
    413: "the body is too large",
    415: "the body is of another type",
    422: "not what was promised, or an Idempotency-Key of another request",
    429: "too many logins failed",
    500: "the server failed; its log says why",
    503: "a part that is needed is away: try again",
    507: "no room",
}
KEY = "Idempotency-Key"
WRITE_HEADERS = (
    (
        KEY,
        "A key of your own: a request that comes again under it is done once.",
        200,
    ),
    ("If-Match", "The ETag of what was read: refused (412) when the revision has moved on.", 20),
)


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of ``routes``."""
    routes = list(routes)
    models: list[tuple[Any, Any]] = []
    for route in routes:
        models += [(route.body, "validation"), (route.query, "validation")]
        if route.answer is not None:
            models.append((route.answer, "serialization"))
    refs, found = models_json_schema(models, ref_template=REF)
    schemas = {**found.get("$defs", {}), "Problem": PROBLEM_SCHEMA}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(PREFIX + _template(route.path), {})[route.method.lower()] = _operation(
            route, refs, schemas
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "bootserve admin API", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {f"Problem{status}": _problem(text) for status, text in PROBLEMS.items()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a token, or an ID token of the site's identity provider",
                }
            },
        },
        "security": [{"bearer": []}],
    }


def _problem(text: str) -> dict[str, Any]:
    schema = {"$ref": REF.format(model="Problem")}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}


def _template(path: str) -> str:
    return re.sub(r"\{(\w+):[^/]+\}", r"{\1}", path)


def _operation(route: Route, refs: dict[Any, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "description": f"Needs {route.needs.words}.",
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{_template(route.path)}").strip(
            "_"
        ),
        "tags": [route.path.split("/")[1]],
        "responses": {str(route.status): _success(route, refs), **_problems(route)},
    }
    if route.needs.anonymous:
        operation["security"] = []
    parameters = _parameters(route, refs, schemas)
    if parameters:
        operation["parameters"] = parameters
    if route.raw:
        content: dict[str, Any] = {"application/octet-stream": {}}
        operation["requestBody"] = {"required": True, "content": content}
    elif route.body is not Empty:
        content = {"application/json": {"schema": refs[(route.body, "validation")]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _problems(route: Route) -> dict[str, Any]:
    """Return the problems that the route can answer with, by status."""
    wanted = set(PROBLEMS)
    if route.body is Empty or route.raw:
        wanted -= {413, 415}
    if route.method == "GET":
        wanted -= {412, 507}
    return {
        str(status): {"$ref": f"#/components/responses/Problem{status}"}
        for status in sorted(wanted)
    }


def _parameters(
    route: Route, refs: dict[Any, Any], schemas: dict[str, Any]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)", route.path)
    ]
    query = schemas[refs[(route.query, "validation")]["$ref"].rpartition("/")[2]]
    required = query.get("required", [])
    found += [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in query.get("properties", {}).items()
    ]
    if route.method != "GET":
        found += [
            {
                "name": name,
                "in": "header",
                "description": text,
                "required": False,
                "schema": {"type": "string", "maxLength": most},
            }
            for name, text, most in WRITE_HEADERS
            if not (route.raw and name == KEY)
        ]
    return found


def _success(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    if route.status == 204:
        return {"description": "done"}
    if route.answer is None:
        return {"description": "done", "content": {route.media: {}}}
    answer: dict[str, Any] = {
        "description": "done",
        "content": {"application/json": {"schema": refs[(route.answer, "serialization")]}},
    }
    if issubclass(route.answer, Stated | CommitOut):
        text = {"description": "the revision", "schema": {"type": "string"}}
        answer["headers"] = {"ETag": text}
    return answer
