"""Remedies: what would make a refused call pass, for the operator. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_FIXED: Final = {
    "tool_unknown": "declare the tool under `tools`",
    "tool_changed": "read the backend's new definition, then renew the tool's `pin`",
    "resource_unknown": "declare a pattern that matches it under `resources`",
    "prompt_unknown": "declare the prompt under `prompts`",
    "method_not_allowed": "declare the method under `methods`",
    "params_malformed": "send the parameters in the form that the sentence names",
    "token_missing": "send an access token of a configured issuer",
    "token_invalid": "log in again; `mcp-sidecar explain --token-file F` makes every check of a token",
    "issuer_unavailable": "make the issuer's keys reachable for the sidecar",
    "confirmation_declined": "repeat the call only if the person wants it",
    "confirmation_unavailable": "use a client that can ask a person, or add `or: argument` to the rule",
    "confirmation_expired": "repeat the call without `requestState`; the person is asked again",
    "store_unavailable": "make the store reachable; the log's other lines name its fault",
    "overloaded": "repeat the call; raise `limits` if it happens often",
    "backend_unavailable": "make the backend reachable; `notes` name its fault",
    "backend_timeout": "repeat the call, or raise the tool's `timeout`",
    "response_too_large": "ask for less, or raise `limits.response`",
}

# An account that has only the default plan has none. `--create` is not in the command: it restores a deleted account.
_NO_RECORD: Final = " (and --create if the store has no record of it)"


@dataclass(frozen=True, slots=True)
class Party:
    """Account and client that commands name.

    Attributes:
        issuer_id: the issuer's id, when several are configured; else None.
        plans: the policy's plans that include the operation.
    """

    account: str
    client_id: str
    issuer_id: str | None = None
    plans: tuple[str, ...] = ()

    def command(self, *words: str) -> str:
        """Return a command line for this account's issuer."""
        more = () if self.issuer_id is None else ("--issuer", self.issuer_id)
        return f"`{shlex.join(('mcp-sidecar', *words, *more))}`"


def remedy(code: str, specifics: Mapping[str, Any], party: Party) -> str | None:
    """Return what would make a call pass; None where only another call would.

    Args:
        code: code of the refusal.
        specifics: `Refusal.specifics`, or the `detail` of a log line.
        party: the caller's account and client.
    """
    if code in _FIXED:
        return _FIXED[code]
    make = _MAKERS.get(code)
    return None if make is None else make(specifics, party)


def _scope(specifics: Mapping[str, Any], party: Party) -> str:
    missing = specifics.get("missing_scopes")
    return f"a token and a consent with {missing}" if missing else "a token and a consent with all scopes of the tool"


def _arguments(specifics: Mapping[str, Any], party: Party) -> str:
    place, keyword = specifics.get("argument"), specifics.get("keyword")
    if place is None:
        return "change the arguments as the sentence says"
    return f"change {place}" + (f" so that the schema's {keyword} accepts it" if keyword else "")


def _confirmation(specifics: Mapping[str, Any], party: Party) -> str:
    place = specifics.get("argument")
    if place is None:
        return "a person accepts the question about the call"
    return f"ask the user, then repeat the call with {place} set to JSON true"


def _consent(specifics: Mapping[str, Any], party: Party) -> str:
    return party.command("consent", "grant", party.account, party.client_id)


def _unknown(specifics: Mapping[str, Any], party: Party) -> str:
    plan = party.plans[0] if party.plans else "PLAN"
    return party.command("account", "set", party.account, "--plan", plan, "--create") + ", or a default_plan"


def _disabled(specifics: Mapping[str, Any], party: Party) -> str:
    return party.command("account", "set", party.account, "--status", "active")


def _plan(specifics: Mapping[str, Any], party: Party) -> str:
    if not party.plans:
        return "include it in a plan of the policy; no plan has it"
    changed = party.command("account", "set", party.account, "--plan", party.plans[0])
    return f"a plan that includes it ({', '.join(party.plans)}): {changed}{_NO_RECORD}"


def _quota(specifics: Mapping[str, Any], party: Party) -> str:
    needed, left, limit = (specifics.get(name) for name in ("needed", "left", "limit"))
    name, window = specifics.get("quota"), specifics.get("window")
    if name is None or window is None:
        return "wait until the quota resets, ask for less, or raise the quota"
    raised = party.command("account", "set", party.account, "--quota", f"{name}.{window}=N") + _NO_RECORD
    if isinstance(needed, int) and isinstance(limit, int) and needed > limit:
        return f"ask for at most {limit} of {name}, or raise the account's own limit: {raised}"
    wait = f"wait {specifics['resets']} s" if "resets" in specifics else "wait until it resets"
    less = f"ask for at most {left}, " if isinstance(left, int) and left > 0 else ""
    return f"{wait}, {less}or raise the account's own limit: {raised}"


def _credits(specifics: Mapping[str, Any], party: Party) -> str:
    needed, left = specifics.get("needed"), specifics.get("left")
    missing = str(needed - left) if isinstance(needed, int) and isinstance(left, int) else "N"
    return party.command("credits", "grant", party.account, str(specifics.get("pool", "POOL")), missing) + _NO_RECORD


_MAKERS: Final = {
    "insufficient_scope": _scope,
    "arguments_refused": _arguments,
    "confirmation_required": _confirmation,
    "consent_missing": _consent,
    "consent_revoked": _consent,
    "account_unknown": _unknown,
    "account_disabled": _disabled,
    "plan_required": _plan,
    "quota_exceeded": _quota,
    "insufficient_credits": _credits,
}
