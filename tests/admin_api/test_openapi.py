"""OpenAPI document: it is valid, committed, and has every route with its permission and problems."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
from openapi_spec_validator import OpenAPIV31SpecValidator

from sidecar.admin_api.api_schemas import SCHEMAS
from sidecar.admin_api.openapi import openapi_document
from sidecar.admin_api.routes import ROUTES
from sidecar.cli.schema import schema_text
from tests.admin_api.support import PERMISSIONS, Api

COMMITTED = Path(__file__).parents[2] / "schemas" / "admin-api.openapi.json"
DOCUMENT: dict[str, Any] = openapi_document(ROUTES)


def test_the_document_is_valid():
    assert [str(each) for each in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_the_committed_document_equals_the_routes():
    expected = schema_text("admin-api")
    assert COMMITTED.read_text("utf-8") == expected, (
        "run: mcp-sidecar schema admin-api > schemas/admin-api.openapi.json"
    )


async def test_the_served_document_is_the_committed_one(api: Api):
    for by in PERMISSIONS:
        said = await api.ask("GET", "/openapi.json", by=by)
        assert (said.status, said.headers["Content-Type"]) == (200, "application/json")
        assert said.json == json.loads(COMMITTED.read_text("utf-8"))


def test_every_route_is_in_it_and_nothing_else():
    listed = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert listed == {(route.method, route.path) for route in ROUTES}
    for route in ROUTES:
        described = DOCUMENT["paths"][route.path][route.method.lower()]
        assert described["operationId"] == route.operation
        assert described["x-permission"] == route.permission
        assert {each["name"] for each in described["parameters"]} == {each.name for each in route.parameters}
        in_path = set(re.findall(r"{(\w+)}", route.path))
        assert in_path == {each.name for each in route.of("path")}
        for code in route.problems:
            assert f"`{code.id}`" in described["responses"][str(code.status)]["description"]
    assert len({route.operation for route in ROUTES}) == len(ROUTES)


def test_reading_needs_the_permission_to_read_and_changing_another_one():
    assert {route.permission == "read" for route in ROUTES if not route.changes} == {True}
    assert {route.permission == "read" for route in ROUTES if route.changes} == {False}


def test_every_schema_is_used_and_refuses_unknown_members():
    text = json.dumps(DOCUMENT)
    for name, schema in SCHEMAS.items():
        assert f'"#/components/schemas/{name}"' in text, name
        jsonschema_rs.meta.validate(dict(schema))
        if name not in ("Pool", "Entry", "Problem"):
            assert schema["additionalProperties"] is False, name
