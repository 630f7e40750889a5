"""`schema`: JSON Schemas with which editors check and complete config and policy files."""

from __future__ import annotations

import argparse
import json
from typing import Any

from sidecar.cli.common import Commands, command
from sidecar.config.enforced import enforced_schema
from sidecar.config.settings_schema import settings_schema
from sidecar.policy.models import PolicyDocument


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "schema", run, "print a JSON Schema for editors", config=False)
    parser.add_argument("document", choices=("config", "policy"))


def run(arguments: argparse.Namespace) -> int:
    """Print the schema; it is JSON in every format."""
    schema = enforced_schema(settings_schema()) if arguments.document == "config" else _policy_schema()
    print(json.dumps(schema, indent=2, ensure_ascii=False))
    return 0


def _policy_schema() -> dict[str, Any]:
    schema = PolicyDocument.model_json_schema()
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **schema, "title": "mcp-policy-sidecar policy file"}
