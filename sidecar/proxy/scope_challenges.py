"""Scopes of challenges, and scope challenges that the client can act on: a repeated one becomes a tool result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Set
from functools import lru_cache
from typing import Final

from sidecar.errors import ErrorCode, Refusal, Shape
from sidecar.identity.recent import Owner
from sidecar.identity.step_up import StepUpHistory
from sidecar.identity.token_scopes import PublishedScopes
from sidecar.model import Caller
from sidecar.policy.rules import Policy

# Members of enums as constants: as attributes of their classes they take ten times as long.
_UNSCOPED: Final = ErrorCode.INSUFFICIENT_SCOPE

# A login that does not add a scope has many causes; which one is not known here.
_REPEATED: Final = (
    "This call needs the {scopes}, which a new access token lacks too. Authorize this MCP server again with {it} "
    "(disconnect and reconnect it, if the client has no other way), then repeat the call. If the login does not offer "
    "{it}, this client must be allowed to request {it} at the authorization server."
)


class ScopeChallenges:
    """Rewrite of the scope challenges of gates 4-7.

    Args:
        evicted: called with the owner of each remembered challenge that makes room for another.
    """

    def __init__(self, evicted: Callable[[Owner | None], None] = lambda _: None) -> None:
        self._history = StepUpHistory(evicted=evicted)

    def rewrite(
        self, refusal: Refusal, caller: Caller, policy: Policy, missing: tuple[str, ...], published: PublishedScopes
    ) -> Refusal:
        """Return the refusal to answer with: one for scopes names those that are missing.

        Args:
            refusal: a refusal of gates 4-7.
            caller: the caller.
            policy: the policy.
            missing: the scopes of the operation that token and consent record do not give.
            published: the scopes that clients can request.
        """
        if refusal.code is not _UNSCOPED:
            return refusal
        refusal, scopes = _named(refusal, missing, policy, published, caller.issuer_id)
        if scopes is None or not self._history.unsatisfied(caller, scopes, time.time()):
            return refusal
        held = policy.expand(caller.scopes)
        lacking = [scope for scope in missing if scope not in held]  # else the consent record lacks them
        detail = _repeated(published.spelled(lacking, caller.issuer_id)) if lacking else refusal.detail
        return refusal.replace(detail=detail, shape=Shape.TOOL_RESULT, status=None)

    def satisfied(self, caller: Caller, given: Set[str]) -> None:
        """Forget the challenges that a call has satisfied: a login adds their scopes, and may have to once more.

        Args:
            caller: the caller; it has all scopes of its operation.
            given: the scopes that count for it.
        """
        self._history.satisfied(caller, given)


@lru_cache(256)  # a token without the scope gets the same refusal at every call
def _named(
    refusal: Refusal, missing: tuple[str, ...], policy: Policy, published: PublishedScopes, issuer_id: str
) -> tuple[Refusal, frozenset[str] | None]:
    """Return a refusal that names the missing scopes, and the scopes of its challenge; None where it is none."""
    if refusal.shape is not Shape.CHALLENGE:
        return _missing(refusal, missing, refusal.scopes), None
    unobtainable = published.unobtainable(missing, issuer_id)
    if unobtainable:
        return _ungranted(_missing(refusal, missing, missing), unobtainable), None
    # A challenge names scopes of this policy only, whatever else the token carries.
    scopes = tuple([scope for scope in refusal.scopes if scope in policy.scopes.rules])
    return _missing(refusal, missing, scopes), frozenset(scopes)


def _missing(refusal: Refusal, missing: tuple[str, ...], scopes: tuple[str, ...]) -> Refusal:
    """Return a refusal that names the missing scopes and, in its challenge, those to request."""
    data = {**refusal.data, "missing_scopes": list(missing)}
    return refusal.replace(data=data, specifics={"missing_scopes": " ".join(missing)}, scopes=scopes, recurs=True)


def challenged_scopes(refusal: Refusal, policy: Policy) -> tuple[str, ...]:
    """Return the scopes that a challenge names.

    A login for a new token requests the base scopes, and the declared ones among those that the old token had.
    """
    if refusal.code is ErrorCode.INSUFFICIENT_SCOPE:
        return refusal.scopes
    if not refusal.scopes:
        return tuple(dict.fromkeys(policy.base_scopes))
    had = (scope for scope in policy.scope_names if scope in refusal.scopes)
    return tuple(dict.fromkeys((*policy.base_scopes, *had)))


def _repeated(missing: Sequence[str]) -> str:
    several = len(missing) > 1
    scopes = f"scopes {' and '.join(missing)}" if several else f"scope {missing[0]}"
    return _REPEATED.format(scopes=scopes, it="them" if several else "it")


def _ungranted(refusal: Refusal, unobtainable: tuple[str, ...]) -> Refusal:
    """Return a tool result instead of a challenge that no login could satisfy."""
    names = " ".join(unobtainable)
    return refusal.replace(
        detail=f"This call needs a permission that no login gives: {names}. The operator of this server grants it to "
        "chosen clients, groups or roles; ask the operator for it.",
        log=f"the grants of the issuer do not give this token {names}",
        shape=Shape.TOOL_RESULT,
        status=None,
        recurs=True,
    )
