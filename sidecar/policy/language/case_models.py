"""Models of the section `tests`: callers, calls, results of the backend, and expected outcomes."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from sidecar.config.documents.merging import Lax, Model
from sidecar.config.settings.scalars import Duration
from sidecar.policy.language.field_types import Limits, Name, ScopeName, ToolName, Whole

MAX_TIMES: Final = 1000
"""Most calls of one test: all tests run before every start and reload."""
MAX_STEPS: Final = 100
"""Most steps of one test."""


class ConsentDocument(Model):
    """A consent that lists scopes."""

    scopes: Lax[tuple[ScopeName, ...]]
    """The scopes that it lists."""


class TestCallerDocument(Model):
    """The caller of a test; absent keys mean an active, unused account with consent."""

    __test__ = False  # pytest would collect it as a test class

    scopes: Lax[tuple[ScopeName, ...]] = ()
    """The token's scopes."""
    plan: Name | None = None
    """The account's plan; `default_plan` if absent."""
    status: Literal["active", "disabled"] = "active"
    """The account's status."""
    consent: Literal["active", "missing", "revoked"] | ConsentDocument = "active"
    """The account's consent to this client."""
    credits: dict[Name, Whole] = Field(default_factory=dict)
    """Balance per pool, in addition to the credits that the plan includes."""
    included: dict[Name, Whole] = Field(default_factory=dict)
    """Included credits that are used, per pool."""
    quotas: dict[Name, Limits] = Field(default_factory=dict)
    """Units that are used, per quota and window."""
    paid: dict[Name, Lax[tuple[str | int, ...]]] = Field(default_factory=dict)
    """Items that are paid, per pool or quota."""


class TestCallDocument(Model):
    """The call of a test: a tool, a resource, a prompt, another method, or the list of tools."""

    __test__ = False

    tool: str | None = None
    """The tool to call."""
    resource: str | None = None
    """The URI of the resource to read, or that the method names."""
    prompt: str | None = None
    """The prompt to get, or that the method names."""
    method: str | None = None
    """Another method, together with the resource or prompt that it names, if any."""
    listing: Annotated[Literal["tools"] | None, Field(alias="list")] = None
    """`tools` for the list that the caller sees, with `expect: {listed: [...]}`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the tool or prompt."""
    meta: dict[str, Any] | None = None
    """The request's `_meta`."""
    confirmation: Literal["accepted", "declined", "unavailable"] | None = None
    """Answer of the person to the question about the call; `unavailable` for a client that cannot ask one."""


class AllowDocument(Model):
    """Amounts that an allowed call reserves; others are not compared."""

    credits: dict[Name, Whole] = Field(default_factory=dict)
    """Credits per pool."""
    quotas: dict[Name, Whole] = Field(default_factory=dict)
    """Units per quota."""


class SettledDocument(Model):
    """Amounts that a call costs by the result of the backend; absent ones are not compared."""

    credits: dict[Name, Whole] = Field(default_factory=dict)
    """Credits per pool."""
    quotas: dict[Name, Whole] = Field(default_factory=dict)
    """Units per quota."""
    rows: Whole | None = None
    """Rows of the result."""


class ExpectDocument(Model):
    """An expected outcome with its price, or the tools of a list."""

    __test__ = False

    allow: AllowDocument = AllowDocument()
    """The call is allowed and reserves this."""
    settled: SettledDocument | None = None
    """The call is allowed and its `result` costs this."""
    listed: Lax[tuple[ToolName, ...]] | None = None
    """All tools of the list, in any order."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})


class TestStepDocument(Model):
    """One call of a test; the account keeps what earlier steps have used, spent and paid."""

    __test__ = False

    after: Duration | None = None
    """Time that passes before the call: `61s` begins another minute."""
    times: Annotated[int, Field(ge=1, le=MAX_TIMES)] = 1
    """Number of repetitions; each must have the expected outcome."""
    call: TestCallDocument
    """The call."""
    result: Literal["error", "unknown"] | dict[str, Any] | None = None
    """The backend's answer: the JSON-RPC result, `error` for a JSON-RPC error, `unknown` for no answer. If absent, the
    call costs what it reserves."""
    expect: str | ExpectDocument
    """`allow`, the code of a refusal, `{allow: …, settled: …}`, `listed` or `hidden` for a tool in `tools/list`."""


class TestDocument(Model):
    """One test of the policy: one call with its outcome, or several as `steps`."""

    __test__ = False

    name: str
    """The behaviour that it shows."""
    caller: TestCallerDocument = TestCallerDocument()
    """The caller."""
    call: TestCallDocument | None = None
    """The call."""
    result: Literal["error", "unknown"] | dict[str, Any] | None = None
    """The backend's answer to the call, as in a step."""
    expect: str | ExpectDocument | None = None
    """The outcome, as in a step."""
    steps: Annotated[Lax[tuple[TestStepDocument, ...]], Field(min_length=1, max_length=MAX_STEPS)] | None = None
    """Calls one after another, in place of `call`, `result` and `expect`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["call", "expect"]}, {"required": ["steps"]}]})

    @property
    def tools(self) -> frozenset[str]:
        """Names of the tools that its steps call."""
        return frozenset(step.call.tool for step in self.sequence if step.call.tool is not None)

    @property
    def sequence(self) -> tuple[TestStepDocument, ...]:
        """All calls of the test, in order."""
        if self.steps is not None:
            return self.steps
        if self.call is None or self.expect is None:
            return ()  # the checker has reported it
        return (TestStepDocument(call=self.call, result=self.result, expect=self.expect),)
