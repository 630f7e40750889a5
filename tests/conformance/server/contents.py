"""Tools that only answer, resources and prompts: one of each kind of content that the protocol has."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Annotated, Any, Final

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.tools import Tool
from mcp_types import (
    AudioContent,
    Completion,
    CompletionArgument,
    CompletionContext,
    EmbeddedResource,
    ImageContent,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

# A PNG of one red pixel, and a WAV of one silent sample.
PIXEL: Final = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
    b"\x00\x00\x00\x0cIDATx\x9cc\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xc9\xfe\x92\xef\x00\x00\x00\x00IEND\xaeB`\x82"
)
SILENCE: Final = (
    b"RIFF\x26\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00"
    b"data\x02\x00\x00\x00\x00\x00"
)
WATCHED: Final = "test://watched-resource"

NEW_SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"enum": ["email", "phone"]},
        "email": {"type": "string"},
        "phone": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["email"]}, {"required": ["phone"]}]}],
    "if": {"properties": {"contactMethod": {"const": "email"}}, "required": ["contactMethod"]},
    "then": {"required": ["email"]},
    "else": {"required": ["phone"]},
    "additionalProperties": False,
}
"""Keywords that only JSON Schema 2020-12 has, and that no hop may lose."""


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _image() -> ImageContent:
    return ImageContent(type="image", data=_base64(PIXEL), mime_type="image/png")


def _embedded(uri: str, text: str, mime_type: str = "text/plain") -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


# --- tools ---------------------------------------------------------------------------------------


def simple_text() -> str:
    """Answers one text."""
    return "Plain text, and nothing else."


def image_content() -> ImageContent:
    """Answers one image."""
    return _image()


def audio_content() -> AudioContent:
    """Answers one sound."""
    return AudioContent(type="audio", data=_base64(SILENCE), mime_type="audio/wav")


def embedded_resource() -> EmbeddedResource:
    """Answers one resource with its contents."""
    return _embedded("test://embedded-resource", "The contents of an embedded resource.")


def multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """Answers a text, an image and a resource."""
    return [
        TextContent(type="text", text="A text, an image and a resource:"),
        _image(),
        _embedded("test://mixed-content-resource", '{"mixed": true}', "application/json"),
    ]


def error_handling() -> str:
    """Always fails."""
    raise ToolError("This tool always fails.")


def mirrored_argument(
    region: Annotated[
        str, Field(description="Also sent as a header", json_schema_extra={"x-mcp-header": "Region"})
    ] = "",
) -> str:
    """Has an argument that clients mirror in the header Mcp-Param-Region."""
    return f"region: {region}"


def greet(name: str) -> str:
    """Greets a person."""
    return f"Hello, {name}!"


def schema_tool() -> Tool:
    """A tool whose schema no Python signature could say."""
    tool = Tool.from_function(
        lambda: "accepted", name="json_schema_2020_12_tool", description="Has a schema of the newest dialect."
    )
    tool.parameters = NEW_SCHEMA
    return tool


TOOLS: Final[dict[str, Callable[..., Any]]] = {
    "test_simple_text": simple_text,
    "test_image_content": image_content,
    "test_audio_content": audio_content,
    "test_embedded_resource": embedded_resource,
    "test_multiple_content_types": multiple_content_types,
    "test_error_handling": error_handling,
    "test_x_mcp_header": mirrored_argument,
    "greet": greet,
}


# --- resources and prompts -----------------------------------------------------------------------


def static_text() -> str:
    """A text that never changes."""
    return "The contents of a static text resource."


def static_binary() -> bytes:
    """An image that never changes."""
    return PIXEL


def template_data(id: str) -> str:
    """Data that depends on the URI."""
    return json.dumps({"id": id, "data": f"Data of {id}"})


def watched() -> str:
    """A resource that clients subscribe to."""
    return "The contents of a watched resource."


def simple_prompt() -> str:
    """A prompt without arguments."""
    return "Say something simple."


def prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with two arguments."""
    return f"The arguments are {arg1!r} and {arg2!r}."


def prompt_with_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803 - the argument's name on the wire
    """A prompt that brings a resource along."""
    return [
        UserMessage(_embedded(resourceUri, "The resource that the prompt is about.")),
        UserMessage("Summarise the resource above."),
    ]


def prompt_with_image() -> list[UserMessage]:
    """A prompt that brings an image along."""
    return [UserMessage(_image()), UserMessage("Describe the image above.")]


async def complete(
    ref: PromptReference | ResourceTemplateReference, argument: CompletionArgument, context: CompletionContext | None
) -> Completion:
    """Completions of an argument's beginning."""
    values = [value for value in ("apple", "pear", "testValue1", "testValue2") if value.startswith(argument.value)]
    return Completion(values=values, total=len(values), has_more=False)


def add_contents(server: MCPServer[Any]) -> None:
    """Give the server everything in this file but `schema_tool`, which is given when it is made."""
    for name, tool in TOOLS.items():
        server.tool(name=name)(tool)
    server.resource("test://static-text", mime_type="text/plain")(static_text)
    server.resource("test://static-binary", mime_type="image/png")(static_binary)
    server.resource("test://template/{id}/data", mime_type="application/json")(template_data)
    server.resource(WATCHED, mime_type="text/plain")(watched)
    server.prompt(name="test_simple_prompt")(simple_prompt)
    server.prompt(name="test_prompt_with_arguments")(prompt_with_arguments)
    server.prompt(name="test_prompt_with_embedded_resource")(prompt_with_resource)
    server.prompt(name="test_prompt_with_image")(prompt_with_image)
    server.completion()(complete)
