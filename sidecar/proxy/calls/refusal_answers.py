"""Answers to refused requests under one snapshot, with the challenge of those that a login would cure."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from sidecar.errors import Refusal, Shape
from sidecar.identity.token_scopes import PublishedScopes
from sidecar.model import Call
from sidecar.policy.rules import Policy
from sidecar.protocol.answers import LocalAnswer, RefusalFrame, RequestForm, refusal_frame
from sidecar.protocol.jsonrpc import Message
from sidecar.proxy.listener.documents import challenge
from sidecar.proxy.scope_challenges import challenged_scopes

MOST: Final = 256
"""Answers remembered; the least recently used is forgotten first."""


class RefusalAnswers:
    """Answers to refused requests; that of a refusal which recurs is made once, but for the request's id.

    Args:
        resource: the configured resource.
        policy: the compiled policy.
        published: its scopes as each issuer names them.
    """

    def __init__(self, resource: str, policy: Policy, published: PublishedScopes) -> None:
        self._resource = resource
        self._policy = policy
        self._published = published
        self._remembered = lru_cache(MOST)(self._frame)

    def answer(self, refusal: Refusal, request: Call | Message | None, issuer_id: str | None) -> LocalAnswer:
        """Return the answer to a refused request.

        Args:
            refusal: the refusal.
            request: as in `refusal_answer`.
            issuer_id: the issuer of the caller; None before the token is verified.
        """
        frame_of = self._remembered if refusal.recurs else self._frame
        frame = frame_of(refusal, RequestForm.of(request), issuer_id)
        return frame.answer(None if request is None else request.id)

    def _frame(self, refusal: Refusal, form: RequestForm, issuer_id: str | None) -> RefusalFrame:
        wanted = None
        if refusal.shape is Shape.CHALLENGE:
            issuer = issuer_id or refusal.specifics.get("issuer")
            scopes = self._published.spelled(challenged_scopes(refusal, self._policy), issuer)
            wanted = challenge(refusal.code, self._resource, scopes, refusal.detail)
        return refusal_frame(refusal, form, wanted)
