"""Mark of trial issuers, in their metadata and key sets: they give tokens to every program on their machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

TRIAL: Final = "mcp_sidecar_trial"
"""Member of both documents, with the value true."""
REFUSED: Final = (
    "this is a trial issuer, which gives tokens to every program on its machine; it is accepted only while "
    "`resource` is on loopback"
)


def is_trial(document: Mapping[str, Any] | object) -> bool:
    """Return True for the metadata or the key set of a trial issuer."""
    return isinstance(document, Mapping) and document.get(TRIAL, False) is not False
