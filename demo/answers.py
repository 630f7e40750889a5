"""Read any answer of a sidecar, and describe it in one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_types import CallToolResult

from sidecar.errors import ErrorCode
from sidecar.protocol.meta import RECEIPT_KEY, REFUSAL_KEY


@dataclass(frozen=True, slots=True)
class Answer:
    """A sidecar's answer.

    Attributes:
        code: the refusal's id, if the answer names one.
        rpc: the JSON-RPC error's number.
        challenge: the `WWW-Authenticate` header.
        facts: the machine-readable detail of a refusal.
    """

    status: int
    code: str | None = None
    rpc: int | None = None
    sentence: str = ""
    challenge: str | None = None
    result: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return status, code and sentence of a refusal, or status and content of a result."""
        if self.refused:
            return f"{self.status} {self.code or self.rpc or ''} {self.sentence}".strip()
        data = (self.result or {}).get("structuredContent", self.result)
        return f"{self.status} {json.dumps(data, ensure_ascii=False)}"

    @property
    def data(self) -> Mapping[str, Any]:
        """Return the structured content of a tool's result."""
        return _mapping((self.result or {}).get("structuredContent"))

    @property
    def receipt(self) -> Mapping[str, Any]:
        """Return the receipt in a tool's result."""
        return _mapping(_mapping((self.result or {}).get("_meta")).get(RECEIPT_KEY))

    @property
    def refused(self) -> bool:
        """Return whether this is anything but a good result."""
        return self.status >= 300 or self.rpc is not None or bool((self.result or {}).get("isError"))

    def shows(self, expected: ErrorCode | None, status: int) -> bool:
        """Return whether this is the expected refusal with this status, or a good result if none is expected.

        An answer without a code (a JSON-RPC error of the protocol, a challenge) is compared by its JSON-RPC number, or
        as a challenge.
        """
        if self.status != status:
            return False
        if expected is None:
            return not self.refused
        if self.code is not None:
            return self.code == expected.id
        return self.rpc == expected.row.rpc or (self.challenge is not None and status in (401, 403))


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read any answer of a sidecar: a result, a JSON-RPC error, problem JSON, or a bare challenge.

    The keys of `headers` are lower-case.
    """
    document = _document(headers.get("content-type", ""), body)
    error, result = _mapping(document.get("error")), document.get("result")
    found = _mapping(_mapping(_mapping(result).get("_meta")).get(REFUSAL_KEY))
    data = _mapping(error.get("data"))
    texts = [_mapping(part).get("text") for part in _mapping(result).get("content") or ()]
    detail = _mapping(data.get(REFUSAL_KEY)) or data
    said = [error.get("message"), *texts, document.get("detail"), document.get("title")]
    codes = [found.get("code"), _mapping(data.get(REFUSAL_KEY)).get("code"), data.get("code"), document.get("code")]
    number = error.get("code")
    return Answer(
        status=status,
        code=next((code for code in codes if isinstance(code, str)), None),
        rpc=number if isinstance(number, int) else None,
        sentence=next((text for text in said if isinstance(text, str)), ""),
        challenge=headers.get("www-authenticate"),
        result=result if isinstance(result, dict) else None,
        facts=found or detail or document if error or found or status >= 400 else {},
    )


def read_result(result: CallToolResult) -> Answer:
    """Convert a result that the MCP client has already read."""
    plain = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return read_answer(200, {"content-type": "application/json"}, json.dumps({"result": plain}).encode())


def _document(media_type: str, body: bytes) -> dict[str, Any]:
    text = body.decode("utf-8", "replace")
    if media_type.startswith("text/event-stream"):
        # The response is the last event; progress and keep-alives precede it.
        text = next((line[5:] for line in reversed(text.splitlines()) if line.startswith("data:")), "")
    try:
        return _mapping(json.loads(text))
    except ValueError:
        return {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
