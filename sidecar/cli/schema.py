"""`schema`: JSON Schemas of config and policy files for editors, and the OpenAPI document of the admin API."""

from __future__ import annotations

import argparse
import json

from sidecar.admin_api.openapi import openapi_document
from sidecar.admin_api.routes import ROUTES
from sidecar.cli.common import Commands, command
from sidecar.config.public_schema import public_schema
from sidecar.config.settings.settings_schema import settings_schema
from sidecar.policy.language.models import PolicyDocument


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "schema", run, "print a JSON Schema, or the admin API's OpenAPI document", config=False)
    parser.add_argument("document", choices=("config", "policy", "admin-api"))


def run(arguments: argparse.Namespace) -> int:
    """Print the schema as JSON."""
    print(schema_text(arguments.document), end="")
    return 0


def schema_text(document: str) -> str:
    """Return the JSON Schema of `config` or `policy`, or the document of `admin-api`, as a file's text."""
    if document == "admin-api":
        schema = openapi_document(ROUTES)
    elif document == "config":
        schema = public_schema(settings_schema(), "mcp-policy-sidecar config.yaml")
    else:
        schema = public_schema(PolicyDocument.model_json_schema(), "mcp-policy-sidecar policy file")
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
