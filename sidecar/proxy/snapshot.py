"""Settings, policy and everything derived from them, as one immutable object that a request takes once."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.config.settings.settings import Settings
from sidecar.identity.authenticator import Authenticator
from sidecar.identity.issuers import IssuerRegistry
from sidecar.identity.token_scopes import PublishedScopes
from sidecar.policy.rules import Policy
from sidecar.proxy.backend.pool import BackendPool
from sidecar.proxy.calls.refusal_answers import RefusalAnswers
from sidecar.proxy.listener.request_filter import RequestFilter
from sidecar.proxy.relay.backend_tools import BackendTools
from sidecar.proxy.relay.list_changes import VisibleLists
from sidecar.vocabulary import record


@record
class CallLimits:
    """Limits and times of a call, as the settings have them: an attribute of a pydantic model takes ten times as long.

    Attributes:
        memory: see `config.settings.limits`, as for the next six.
        timeout: seconds of a call; its tool may have others.
        idle_timeout: seconds of silence on a stream.
    """

    memory: int
    body: int
    json_depth: int
    response: int
    in_flight: int
    in_flight_per_account: int
    streams_per_account: int
    timeout: float
    idle_timeout: float

    @classmethod
    def of(cls, settings: Settings) -> CallLimits:
        """Copy those of the settings."""
        limits, backend = settings.limits, settings.backend
        return cls(
            *(limits.memory, limits.body, limits.json_depth, limits.response),
            *(limits.in_flight, limits.in_flight_per_account, limits.streams_per_account),
            *(backend.timeout, backend.idle_timeout),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a reload replaces, in one assignment.

    Attributes:
        settings: config.yaml.
        limits: those of the settings that a call meets.
        policy: the compiled policy.
        request_filter: the paths, Host names and origins derived from them.
        authenticator: gate 2 for these issuers; remembers the tokens it has verified.
        tools: knowledge of the backend's tools under this policy.
        published: the policy's scopes as each issuer names them.
        upstream: the connections to the backend; requests of an older snapshot finish on its own.
        lists: the lists that callers may see.
        refusals: the answers to refused requests.
    """

    settings: Settings
    limits: CallLimits
    policy: Policy
    request_filter: RequestFilter
    authenticator: Authenticator
    tools: BackendTools
    published: PublishedScopes
    upstream: BackendPool
    lists: VisibleLists
    refusals: RefusalAnswers

    @classmethod
    def of(
        cls,
        settings: Settings,
        policy: Policy,
        issuers: IssuerRegistry,
        upstream: BackendPool,
        before: Snapshot | None = None,
    ) -> Snapshot:
        """Build a complete snapshot.

        Args:
            settings: config.yaml.
            policy: the compiled policy.
            issuers: the issuers' keys.
            upstream: the connections to the backend.
            before: the snapshot it will replace; the same revision keeps its knowledge of the same backend.
        """
        known = None
        if before is not None and before.policy.revision == policy.revision and before.upstream.url == upstream.url:
            known = before.tools
        published = PublishedScopes(settings.issuers)
        return cls(
            settings,
            CallLimits.of(settings),
            policy,
            RequestFilter.of(settings, published.supported(policy.scope_names)),
            Authenticator(settings.resource, settings.issuers, issuers, declared=policy.scope_names),
            known or BackendTools(policy),
            published,
            upstream,
            VisibleLists(policy),
            RefusalAnswers(settings.resource, policy, published),
        )
