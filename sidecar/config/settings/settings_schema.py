"""JSON Schema of config.yaml, for editors."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import WithDefaultSchema

from sidecar.config.settings.settings import Settings

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_SUBSTITUTED: Final = {
    "type": "string",
    "pattern": r"\$\{[^{}]+\}",
    "description": "${NAME}, ${NAME:-default}, ${file:…}",
}
_NARROW: Final = ("enum", "const", "pattern", "minLength", "maxLength")


def settings_schema() -> dict[str, Any]:
    """Return the JSON Schema of the config file, with `${...}` accepted for every value."""
    schema = Settings.model_json_schema(schema_generator=_ConfigSchemaGenerator)
    return {"$schema": _DIALECT, **_substitutable(schema), "title": "mcp-policy-sidecar config.yaml"}


class _ConfigSchemaGenerator(GenerateJsonSchema):
    """Schema generator that writes defaults as in the file, `5m` and not 300.0."""

    def get_default_value(self, schema: WithDefaultSchema) -> Any:
        default = super().get_default_value(schema)
        serialization: Any = schema["schema"].get("serialization") or {}
        return serialization["function"](default) if serialization.get("type") == "function-plain" else default


def _substitutable(node: Any) -> Any:
    """Accept `${...}` for every scalar that does not accept any text already."""
    if isinstance(node, list):
        return [_substitutable(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") in ("integer", "number", "boolean") or (
        node.get("type") == "string" and any(word in node for word in _NARROW)
    ):
        about = {key: node[key] for key in ("default", "description", "title") if key in node}
        rest = {key: value for key, value in node.items() if key not in about}
        return {**about, "anyOf": [rest, _SUBSTITUTED]}
    return {key: value if key == "default" else _substitutable(value) for key, value in node.items()}
