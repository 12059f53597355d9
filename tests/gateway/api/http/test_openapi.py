"""OpenAPI: the document says what the route table does, no more and no less."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.api.http.openapi import make_document
from gateway.api.http.server import route_table
from gateway.people.permissions import Permission

TABLE = route_table()
DOCUMENT = make_document(TABLE)


def operation(method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][method.lower()]
    return found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_route_is_an_operation_and_every_operation_a_route() -> None:
    described = {(method.upper(), path) for path, found in DOCUMENT["paths"].items() for method in found}
    assert described == {(route.method, path) for path, route in TABLE}
    assert len(described) == len(TABLE), "two routes for one address"
    assert DOCUMENT["openapi"] == "3.1.0"


def test_operations_have_names_of_their_own() -> None:
    names = [operation(route.method, path)["operationId"] for path, route in TABLE]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere() -> None:
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    found = set(references(DOCUMENT["paths"])) | set(references(DOCUMENT["components"]))
    assert found
    assert found <= known


@pytest.mark.parametrize(("path", "route"), TABLE, ids=lambda item: item if isinstance(item, str) else "")
def test_an_operation_says_what_its_route_takes_gives_and_asks_for(path: str, route: Any) -> None:
    found = operation(route.method, path)
    assert f"`{route.act}`" in found["description"]
    assert ("security" in found) is (route.act is Permission.PUBLIC)
    assert ("requestBody" in found) is (route.request is not None or bool(route.takes))
    if route.takes:
        assert tuple(found["requestBody"]["content"]) == route.takes
    if route.gives:
        assert tuple(found["responses"][str(route.status)]["content"]) == route.gives
    assert str(route.status) in found["responses"]
    assert "application/problem+json" in found["responses"]["default"]["content"]
    in_path = [item["name"] for item in found["parameters"] if item["in"] == "path"]
    assert in_path == re.findall(r"\{(\w+)\}", path)
    in_query = {item["name"] for item in found["parameters"] if item["in"] == "query"}
    assert in_query == set(route.query.__struct_fields__ if route.query else ())


def test_what_must_be_given_is_marked() -> None:
    parameters = operation("GET", "/api/v1/equipment/{equipment}/history")["parameters"]
    assert {item["name"] for item in parameters if item["required"]} == {"equipment", "field"}
