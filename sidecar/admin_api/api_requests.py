"""Request of a program as operations get it, and their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sidecar.admin_api.api_problems import ApiCode, ApiProblem
from sidecar.admin_api.programs import Program
from sidecar.config.settings.settings import Settings
from sidecar.management.operator_store import OperatorStore
from sidecar.management.targets import Target
from sidecar.policy.rules import Policy
from sidecar.proxy.listener.answering_connection import ClientRequest


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """Checked request.

    Attributes:
        program: its caller, which has the permission.
        parameters: values of its path, query and headers by name, checked; absent ones have their default.
        body: its document, checked; None without one.
        store: the store.
        settings: config in force when it arrived.
        policy: policy in force when it arrived.
        http: the request as it arrived, for answers that are streams.
    """

    program: Program
    parameters: Mapping[str, Any]
    body: Any
    store: OperatorStore
    settings: Settings
    policy: Policy
    http: ClientRequest

    def with_body(self, body: Any) -> ApiRequest:
        """Return the request with its document."""
        return replace(self, body=body)

    @property
    def by(self) -> str:
        """Author of its changes."""
        return self.program.author

    @property
    def issuer(self) -> str:
        """Id of the issuer that it names.

        Raises:
            ApiProblem: it is not configured, or it is missing although several are.
        """
        ids = [each.id for each in self.settings.issuers]
        named = self.parameters.get("issuer")
        if named is None and len(ids) == 1:
            return ids[0]
        if named is None:
            raise ApiProblem(ApiCode.PARAMETER_INVALID, "issuer is required: the config has several.")
        if named not in ids:
            raise ApiProblem(ApiCode.ISSUER_UNKNOWN)
        return str(named)

    @property
    def target(self) -> Target:
        """Account that its path names.

        Raises:
            ApiProblem: as `issuer`.
        """
        return Target(self.issuer, self.parameters["account"])


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """Answer of an operation.

    Attributes:
        document: its JSON document; None for an answer without a body.
        version: of the record in it, for `ETag`; None without one.
        change: for the log: fields of what was changed; empty for an operation that only reads.
        created: True when a record was created.
    """

    document: Any
    version: str | None = None
    change: Mapping[str, Any] = field(default_factory=dict)
    created: bool = False
