"""OpenAPI 3.1 from the route table: the document has exactly the routes of the table."""

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import msgspec
from apispec import APISpec

from gateway.api.http.bodies import Problem
from gateway.api.http.route import Route
from gateway.api.people.approval_bodies import ApprovalBody
from gateway.people.permissions import Permission

_REF = "#/components/schemas/{name}"


def make_document(routes: Iterable[tuple[str, Route]]) -> dict[str, Any]:
    """The document for (full path, route) pairs."""
    table = list(routes)
    spec = APISpec(
        title="Gengfu",
        version=version("gengfu"),
        openapi_version="3.1.0",
        info={"description": "The watchman for buildings: equipment, alarms and tickets."},
        security=[{"cookie": []}],
    )
    spec.components.security_scheme("cookie", {"type": "apiKey", "in": "cookie", "name": "gengfu_login"})
    schemas, names = _schemas(table)
    for name, schema in names.items():
        spec.components.schema(name, schema)
    for path, route in table:
        spec.path(path=path, operations={route.method.lower(): _operation(path, route, schemas)})
    return spec.to_dict()


def _schemas(table: list[tuple[str, Route]]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Schema of each structure that the table names, and the components they refer to."""
    types: list[Any] = [Problem, ApprovalBody]
    for _, route in table:
        types += [kind for kind in (route.request, route.query, route.response) if kind is not None]
    unique = list(dict.fromkeys(types))
    found, components = msgspec.json.schema_components(unique, ref_template=_REF)
    return dict(zip(unique, found, strict=True)), components


def _operation(path: str, route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "description": f"Permission: `{route.act}`.",
        "parameters": _parameters(path, route),
        "responses": {
            **{str(status): _response(route, schemas) for status in (route.status, *route.also)},
            "default": _PROBLEM,
        },
    }
    if route.may_wait:
        waits = {"application/json": {"schema": schemas[ApprovalBody]}}
        operation["responses"]["202"] = {"description": "It waits for a second person's approval", "content": waits}
    if route.act is Permission.PUBLIC:
        operation["security"] = []
    if route.takes:
        operation["requestBody"] = {"required": True, "content": _files(route.takes)}
    if route.request is not None:
        content = {"application/json": {"schema": schemas[route.request]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


_PROBLEM: dict[str, Any] = {
    "description": "A problem; `code` identifies it",
    "content": {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}},
}


def _files(media_types: Iterable[str]) -> dict[str, Any]:
    """The bytes of a file in OpenAPI 3.1: the media type alone."""
    return {name: {"schema": {"type": "string", "contentMediaType": name}} for name in media_types}


def _response(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    if route.gives:
        return {"description": route.summary, "content": _files(route.gives)}
    if route.response is None:
        return {"description": "Done"}
    return {
        "description": route.summary,
        "content": {"application/json": {"schema": schemas[route.response]}},
    }


def _parameters(path: str, route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    if route.query is not None:
        described, components = msgspec.json.schema_components([route.query], ref_template=_REF)
        schema = components[described[0]["$ref"].rsplit("/", 1)[1]]
        required = schema.get("required", ())
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": field}
            for name, field in schema["properties"].items()
        ]
    return parameters
