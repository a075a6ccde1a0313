"""The OpenAPI 3.1 document, generated from the routes and the models that validate them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from bootserve import __version__
from bootserve.servers.admin.routing import PREFIX, Empty, Route

__all__ = ["document"]

REF = "#/components/schemas/{model}"
PROBLEM = {
    "description": "What went wrong, as problem+json (RFC 9457)",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "hint": {"type": "string"},
                },
                "required": ["type", "title", "status", "detail"],
            }
        }
    },
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of ``routes``."""
    routes = list(routes)
    models: list[tuple[Any, Any]] = []
    for route in routes:
        models.append((route.body, "validation"))
        if route.answer is not None:
            models.append((route.answer, "serialization"))
    refs, schemas = models_json_schema(models, ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(PREFIX + _template(route.path), {})[route.method.lower()] = _operation(
            route, refs
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "bootserve admin API", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _template(path: str) -> str:
    return re.sub(r"\{(\w+):[^/]+\}", r"{\1}", path)


def _operation(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{_template(route.path)}").strip(
            "_"
        ),
        "tags": [route.path.split("/")[1]],
        "responses": {str(route.status): _success(route, refs), "default": PROBLEM},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)", route.path)
    ]
    properties = route.query.model_json_schema().get("properties", {})
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in properties.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.raw:
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    elif route.body is not Empty:
        schema = refs[(route.body, "validation")]
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _success(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    if route.answer is None:
        return {"description": "done"}
    schema = refs[(route.answer, "serialization")]
    return {"description": "done", "content": {"application/json": {"schema": schema}}}
