"""Tables of the documentation, made from the code.

    python -m tests.docs.tables            list pages that differ from the code; exit status 1 if any
    python -m tests.docs.tables --write    bring them up to date

A part stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

from sidecar.admin_api.api_problems import ApiCode
from sidecar.admin_api.route_table import Route
from sidecar.admin_api.routes import ROUTES
from sidecar.config.settings.settings_schema import settings_schema
from sidecar.errors import Blame, ErrorCode, Shape
from sidecar.identity import token_kind
from sidecar.ledger import receipts
from sidecar.ledger.journal.entries import FIELDS
from sidecar.ledger.settlement_table import ENDINGS, Cost, SettlementRow, Theme
from sidecar.model import OnUnknown
from sidecar.observe.metrics import Metrics
from sidecar.observe.plain_metrics import PlainCounter, PlainHistogram
from sidecar.outcome import Event
from sidecar.policy.language import case_models, models
from sidecar.store.commands.keys import account_keys, claim_key, digest
from sidecar.store.connection.layout import LAYOUT_KEY, LAYOUT_VERSION

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

MARKED: Final = re.compile(r"(<!-- table: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def code(text: object) -> str:
    return f"`{text}`"


# --- errors ------------------------------------------------------------------------------------

_SHAPES: Final = {
    Shape.CHALLENGE: "challenge",
    Shape.TOOL_RESULT: "result",
    Shape.RPC_ERROR: "error",
    Shape.HTTP: "problem",
}
_CURES: Final = {
    Blame.CLIENT: "client",
    Blame.ACCOUNT: "holder",
    Blame.OPERATOR: "operator",
    Blame.BACKEND: "backend",
}


def errors() -> str:
    """List the codes by gate: a row names shape and cure where they are not those of its gate."""
    rows: list[Sequence[str]] = []
    for gate, grouped in groupby(ErrorCode, key=lambda each: each.row.gate):
        group = list(grouped)
        shape = Counter(_SHAPES[each.row.shape] for each in group).most_common(1)[0][0]
        cure = Counter(_CURES[each.row.blame] for each in group).most_common(1)[0][0]
        rows.append((f"**{gate.value}**", "", "", shape, cure, "", ""))
        for each in group:
            cells = (_SHAPES[each.row.shape].replace(shape, ""), _CURES[each.row.blame].replace(cure, ""))
            retry = "✓" if each.row.retryable else ""
            rows.append(
                (
                    code(each.id),
                    str(each.row.status),
                    str(each.row.rpc),
                    *cells,
                    retry,
                    re.split("[:;] ", each.row.sentence.rstrip("."))[0] + ".",
                )
            )
    return table(("Code", "HTTP", "JSON-RPC", "Shape", "Cured by", "Retry", "Sentence"), rows)


# --- metrics -----------------------------------------------------------------------------------


def metrics() -> str:
    """List the metrics with their types."""
    rows = ((name, kind, labels, _shortened(words)) for name, kind, labels, words in metric_rows())
    return table(("Name", "Type", "Labels", "Meaning"), rows)


def _shortened(words: str) -> str:
    """Leave out of a help text what name, type and labels say."""
    short = re.sub(r"^Number of |(, by [a-z ]+|, else 0)?\.$", "", words)
    return short[0].upper() + short[1:] + "."


def metric_rows() -> list[tuple[str, str, str, str]]:
    """Name, type, labels and help of every metric, as they are scraped."""
    rows = []
    for each in vars(Metrics()).values():
        if isinstance(each, MetricWrapperBase):
            names = each._labelnames
        elif isinstance(each, PlainCounter | PlainHistogram):
            names = each.label_names
        else:
            continue
        described = next(iter(each.describe()))
        suffix = "_total" if described.type == "counter" else ""
        labels = ", ".join(map(code, names))
        rows.append((code(described.name + suffix), described.type, labels, described.documentation))
    return rows


# --- settings ----------------------------------------------------------------------------------

Schema = Mapping[str, Any]

_PATTERNS: Final = (
    ("(ms|s|m|h)", "duration"),
    ("KiB", "size"),
    ("embedded", "`embedded` or URL"),
    ("https?://", "URL"),
    ("://", "origin"),
    (":([0-9]{1,5})$", "host:port"),
    ("(?::[0-9]{1,5})?$", "host name"),
)
# Meanings of keys that the code describes only together with others.
_MEANINGS: Final = {
    "listen": "Address of MCP and the well-known documents, or `{address: host:port, tls: …}`.",
    "backend.url": "The MCP endpoint of the server behind the sidecar.",
    "log.format": "`console`: [readable](log.md#on-a-terminal); `auto`: that on a terminal, else `json`.",
    "log.sample": "Part of the [free calls without a problem](log.md#fewer-lines) that have a line.",
    "tracing.endpoint": "URL of the [collector](tracing.md) for traces.",
    "tracing.sample": "Part of the traces that begin here.",
    "tracing.headers": "Added to each export; may hold secrets.",
    "tracing.tls.ca": "PEM: authorities of the collector's certificate, instead of the system's.",
    "log.level": "Least level that is written.",
    # Shorter than in the code, because the page says the rest.
    "listen.tls.key": "Its private key, not encrypted.",
    "backend.tls.key": "Its private key, not encrypted.",
    "backend.keepalive": "Time between comments to the client on a silent stream.",
    "issuers[].issuer": "The exact `iss`.",
    "issuers[].jwks_uri": "Its keys; when absent: as its metadata says.",
    "issuers[].algorithms": "Signatures.",
    "issuers[].leeway": "Difference of clocks.",
    "store.directory": "The embedded server's data.",
    "limits.body": "A request's body.",
    "limits.header": "A request's headers.",
    "limits.response": "One answer or stream of the backend.",
    "workers": "[Processes](workers.md) that serve; `auto`: one for each processor.",
    "shutdown_grace": "Time that calls in flight have to end.",
    "resource": "The public URL, exactly as clients use it.",
    "listen.tls.cert": "PEM: the certificate, then those up to its authority.",
    "admin_hosts": "Host names that `admin` and `admin_api` accept, in lower case.",
    "hosts": "Further Host names, in lower case.",
    "origins": "Browser origins that are allowed.",
    "backend.headers": "Added to every request; may hold secrets.",
    "backend.tls.ca": "PEM: authorities of the backend's certificate; when absent: the system's.",
    "backend.tls.cert": "PEM: the certificate shown to the backend, then those up to its authority.",
    "backend.max_connection_age": "Use of one connection, before the backend's name is looked up again.",
    "backend.connect_timeout": "Time to make one connection.",
    "backend.timeout": "Time of a call to its final result; a tool may override it.",
    "backend.idle_timeout": "Silence of a stream, or of a client that does not read.",
    "backend.events": "`scoped`: the backend keeps events of sessions apart.",
    "issuers[].id": "The name under which its accounts are kept.",
    "issuers[].audience": "Accepted `aud`; when absent: the resource. Or a [section](tokens.md#audience):",
    "issuers[].typ": "Accepted `typ`; when absent: `at+jwt`, `JWT` or none.",
    "issuers[].claims.account": "Claim of the account.",
    "issuers[].claims.client_id": "Claim of the client; else `client_id`, `azp`.",
    "issuers[].claims.scopes": "[Claims or paths](tokens.md#scopes) of the scopes, in order; else `scope`, `scp`.",
    "issuers[].tenants": "[Tenants](tokens.md#tenants) of an issuer with `{tenantid}`.",
    "issuers[].jwks.file": "A file with its keys, instead of a URL.",
    "issuers[].tls.ca": "PEM: authorities of its certificates, instead of the system's.",
    "issuers[].insecure_http": "Permits http:// to other machines, in a network that you trust.",
    "issuers[].advertise": "`false`: not in the metadata for clients; a URL: that one instead.",
    "issuers[].introspection.url": "The introspection endpoint (RFC 7662).",
    "issuers[].introspection.client_id": "Name for HTTP Basic authentication.",
    "issuers[].introspection.client_secret": "Its secret.",
    "issuers[].introspection.cache": "Use of one answer; `0s` asks at every call.",
    "store.url": "See [these URLs](store.md#one-server-sentinel-or-cluster); may hold a password.",
    "limits.json_depth": "Levels of nesting in messages and answers.",
    "limits.memory": "[Requests and answers](#memory) held at one time.",
    "limits.in_flight_per_account": "Requests at one time of one account.",
    "limits.streams_per_account": "Open streams of one account.",
}
_TYPES: Final = {
    "issuers[].algorithms": "list, of [these](tokens.md#what-is-accepted)",
    "issuers[].grants[].all": "`true`",
}
_SKIPPED: Final = ("listen.address",)
# Keys with a value of their own or a section.
_BOTH: Final = ("listen", "issuers[].audience")


def settings() -> str:
    schema = settings_schema()
    return table(("Key", "Type", "Default", "Meaning"), _settings(schema, schema, ""))


def _settings(whole: Schema, node: Schema, prefix: str) -> list[tuple[str, str, str, str]]:
    rows = []
    for name, entry in node["properties"].items():
        key, below = prefix + name, _section(whole, entry)
        if key in _SKIPPED:
            continue
        if below is None or key in _BOTH:
            default = "required" if name in node.get("required", ()) else _default(entry.get("default"))
            kind = _TYPES.get(key) or _type(entry)
            shown = kind not in ("text", "duration", "size")  # the default of the last two has the unit
            rows.append((code(key), kind if shown else "", default, _meaning(key, entry)))
        if below is not None:
            listed = "[]" if entry.get("type") == "array" else ""
            rows += _settings(whole, below, f"{key}{listed}.")
    return rows


def _section(whole: Schema, entry: Schema) -> Schema | None:
    forms = [entry, entry.get("items", {}), *_alternatives(entry)]
    reference = next((form["$ref"] for form in forms if "$ref" in form), None)
    return None if reference is None else whole["$defs"][reference.rpartition("/")[2]]


def _meaning(key: str, entry: Schema) -> str:
    text = _MEANINGS.get(key) or entry["description"]
    return text.replace("None:", "when absent:")


def _default(value: object) -> str:
    if value is None:
        return "—"
    if isinstance(value, Mapping):
        return code(next(iter(value.values())))
    if isinstance(value, list) and len(value) > 3:
        return "all of them"
    return code(str(value).lower() if isinstance(value, bool) else value)


def _type(entry: Schema) -> str:
    kinds = [_kind(each) for each in _alternatives(entry)]
    found = list(dict.fromkeys(kind for kind in kinds if kind))
    if found[1:] == [f"list of {found[0]}"]:
        return f"{found[0]} or list"
    return " or ".join(found)


def _alternatives(entry: Schema) -> list[Schema]:
    """List the accepted forms of a value, without `${...}` and null."""
    forms = entry.get("anyOf") or entry.get("oneOf")
    if forms is None:
        return [entry]
    found = [below for each in forms for below in _alternatives(each)]
    return [each for each in found if each.get("type") != "null" and not each.get("pattern", "").startswith(r"\$")]


def _kind(entry: Schema) -> str:
    if "$ref" in entry:
        return ""
    if "const" in entry or "enum" in entry:
        return ", ".join(map(code, entry.get("enum") or [entry["const"]]))
    if entry["type"] == "boolean":
        return "`true`, `false`"
    if entry["type"] == "object":
        return f"map of {_type(entry['additionalProperties'])}"
    if entry["type"] == "array":
        return f"list of {_type(entry['items'])}"
    if entry["type"] == "integer":
        return f"{entry['minimum']}..{entry['maximum']}"
    return next((words for part, words in _PATTERNS if part in entry.get("pattern", "")), "text")


# --- policy ------------------------------------------------------------------------------------


_SHORTER: Final = {
    "A confirmation that the call requires.": "See [confirmation](#confirmation).",
    "Page where people manage their clients; named in refusals for consent and credits.": "Page where people manage "
    "their clients, for refusals.",
    "The plan of accounts without a record in the store; if absent, they are refused.": "Plan of accounts without a "
    "record; without it they are refused.",
    "The resources that clients may read and subscribe to, by URI pattern.": "Resources, by URI pattern.",
    "The prompts that clients may get, by name.": "Prompts, by name.",
    "Other methods that clients may use, by name.": "Other methods, by name.",
    "Declares a policy without tools as intended, and not as a truncated file.": "True permits a policy without tools.",
    "Calls and their expected outcomes; run before the policy is used.": "Calls and their expected outcomes.",
    "The scopes of access tokens, each with a description.": "Scopes, each with a description.",
    "Limits per account in fixed UTC windows.": "Limits per account and UTC window.",
    "Scopes that a token needs, all of them; [] for any valid token.": "All scopes that a token needs; may be `[]`.",
    "JSON Schema 2020-12 of the arguments; defaults are added and forwarded.": "See [arguments](#arguments).",
    "Resolution of the reserved amounts when the call's outcome is unknown.": "`settle` or `release`, when the "
    "[outcome](settlement.md) is unknown.",
    "Units to reserve: a number or a JMESPath expression over `arguments` and `meta`.": "Units to reserve.",
}
"""Descriptions of keys, shorter where the page says the rest."""

SHOWN_MODELS: Final = (models.PolicyDocument, models.ToolDocument, models.AmountDocument)
"""Models of which the page prints descriptions."""


def _keys_of(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    required = schema.get("required", ())
    if not required:
        return table(
            ("Key", "Meaning"), [(code(name), _described(each)) for name, each in schema["properties"].items()]
        )
    rows = [
        (code(name), "required" if name in required else "", _described(entry))
        for name, entry in schema["properties"].items()
    ]
    return table(("Key", "", "Meaning"), rows)


def _described(entry: Schema) -> str:
    text: str = entry["description"]
    return _SHORTER.get(text, text)


def operation() -> str:
    """List the keys of an operation, which tools have too."""
    schema, tool = (model.model_json_schema() for model in (models.OperationDocument, models.ToolDocument))
    assert schema["required"] == tool["required"] == ["scopes"]
    assert set(schema["properties"]) < set(tool["properties"])
    return _names_of(models.OperationDocument)


def _names_of(model: type[BaseModel]) -> str:
    return ", ".join(code(each.alias or name) for name, each in model.model_fields.items())


# --- settlement --------------------------------------------------------------------------------

_COSTS: Final = {
    (Cost.TRUE, Cost.TRUE): "true price",
    (Cost.RESERVED, Cost.RESERVED): "reserve",
    (Cost.NOTHING, Cost.NOTHING): "0",
    (Cost.NOTHING, Cost.RESERVED): "`on_unknown`",
}
"""The cell for what `on_unknown: release` and `on_unknown: settle` cost."""


_GROUPS: Final[Mapping[Theme, Sequence[tuple[str, str]]]] = {
    Theme.PERSON: (
        ("No answer, declined, dismissed, accepted after its end or a second time; or the client cannot ask",
         "confirmation_asked confirmation_declined confirmation_unavailable confirmation_expired"),
        ("Accepted in time, and the result comes", "confirmation_accepted"),
        ("Accepted; the backend answers `input_required`: the retry needs no further question", "confirmation_carried"),
    ),
    Theme.ANSWER: (
        ("A result, whatever goes wrong after it; also of the retry after `input_required`",
         "result result_then_broken input_given"),
        ("A result with `isError`", "tool_error"),
        ("The same, with `charge_errors: true`", "tool_error_charged"),
        ("A JSON-RPC error", "rpc_error"),
        ("A result of type `input_required`", "input_required"),
    ),
    Theme.TASK: (
        ("A task, however it ends; its result is free", "task_started task_completed task_failed task_cancelled"),
        ("A task where none are served", "task_unasked"),
    ),
    Theme.STATUS: (
        ("3xx, 401 or 403 (the client gets 502); 400, 404, 405, 406, 411, 413, 415, 421, 422, 429 or 431 (relayed)",
         "http_3xx http_4xx http_login"),
        ("5xx or 407 (the client gets 502); any other 4xx, such as 408, 409 or 499 (relayed)",
         "http_4xx_unknown http_5xx"),
    ),
    Theme.UNUSABLE: (
        ("No JSON-RPC response to this request, or a content coding that was not asked for",
         "wrong_type invalid_json other_id coded"),
        ("More than `limits.response`, or than `limits.memory` has room for", "too_large"),
    ),
    Theme.CONNECTION: (
        ("None: refused, not there within `backend.connect_timeout`, no address, or TLS fails",
         "connect_refused connect_timeout name_unknown tls_failed"),
        ("Closed or reset after sending, also within a JSON answer", "reset closed json_cut"),
    ),
    Theme.TIME: (
        ("The call's `timeout` is over before it was sent", "timed_out_unsent"),
        ("No result within the `timeout`, or silence on the stream for `backend.idle_timeout`",
         "timed_out timed_out_stream idle"),
    ),
    Theme.STREAM: (("It breaks", "stream_cut"), ("It ends cleanly", "stream_ended")),
    Theme.RESUMED: (
        ("The result passes on the resumed stream, in any sidecar or several",
         "resumed resumed_elsewhere resumed_twice"),
        ("A result with `isError` passes there", "resumed_tool_error"),
        ("A JSON-RPC error passes there", "resumed_rpc_error"),
        ("The response passes on another stream of the session", "resumed_other_stream"),
        ("No client resumes it before the lease ends, or the result passes after that", "not_resumed resumed_late"),
    ),
    Theme.CLIENT: (
        ("Left before the call was admitted, or in 2026-07-28 before it was sent", "left_unadmitted left_unsent"),
        ("Left: before 2026-07-28 at any time, since the call is read to its result; in 2026-07-28 after the result. "
         "Or cancelled by notification, and the result comes all the same",
         "left_read_on left_after cancelled_result"),
        ("In 2026-07-28 left before the result. Or cancelled, or the session deleted; then an error, a 4xx, a broken "
         "stream or five seconds of silence",
         "left_cancels cancelled_error cancelled_broken cancelled_silent session_deleted"),
    ),
    Theme.LISTEN: (
        ("The backend sends something, or the stream is silent and open after the `timeout` of a call",
         "listen_spoken listen_silent"),
        ("A JSON-RPC error", "listen_refused"),
    ),
    Theme.STOPPED: (
        ("The call finishes within `shutdown_grace`", "stopped_in_time"),
        ("It does not", "stopped_working"),
        ("It does not, but can be resumed", "stopped_resumable"),
    ),
    Theme.KILLED: (
        ("At any moment before the settle has reached the store, also before the call was sent",
         "killed_unadmitted killed_unsent killed_sent killed_unsettled killed_resumed_late hung_unsent"),
        ("After the settle", "killed_settled"),
        ("After sending; the result passes on another stream of the session before the lease ends", "killed_resumed"),
        ("It hangs after sending, and settles after the lease has ended", "hung_sent"),
    ),
    Theme.STORE: (
        ("It does not answer the admission in time: the call is refused", "admission_unanswered admission_late"),
        ("It hangs or dies before its answer to the settle, and comes back",
         "settle_unanswered store_killed store_paused"),
        ("It dies before the settle; so does the sidecar, or it waits five seconds when stopped", "both_killed"),
    ),
}  # fmt: skip
"""Rows as the page prints them: words for endings of equal events and costs, and the names of these."""


def settlement() -> str:
    """Print the table with endings of equal events and costs in one row."""
    named = {ending.name: ending for ending in ENDINGS}
    listed = [name for group in _GROUPS.values() for _, names in group for name in names.split()]
    assert sorted(listed) == sorted(named)
    rows: list[Sequence[str]] = []
    for theme in Theme:
        rows.append((f"**{theme.value}**", "", ""))
        for words, names in _GROUPS[theme]:
            endings = [named[name] for name in names.split()]
            assert all(ending.theme is theme for ending in endings)
            (cells,) = {_cells(ending) for ending in endings}  # they are equal
            rows.append((words, *cells))
    return table(("Outcome", "Event", "Price"), rows)


def _cells(ending: SettlementRow) -> tuple[str, str]:
    # The page states this rule in one sentence instead of a column.
    assert ending.sent is (Event.NOT_SENT not in ending.events)
    events = ", ".join(code(event.value) for event in ending.events)
    return (
        f"{events}; `late`" if ending.late else events,
        _COSTS[ending.costs[OnUnknown.RELEASE], ending.costs[OnUnknown.SETTLE]],
    )


# --- store -------------------------------------------------------------------------------------


def vectors() -> str:
    """List digests, and assert that the keys of the examples are made of them."""
    parts = (("main", "acme"), ("main", "é"), ("user-1", "cli-1"), ("https://client.example/app.json",), ("session-1",))
    keys = account_keys("main", "acme")
    assert keys.account == f"mcp:{{{digest('main', 'acme')}}}:account"
    assert keys.consent("user-1", "cli-1").endswith(f":consent:{digest('user-1', 'cli-1')}")
    assert keys.client("cli-1").endswith(f":client:{digest('cli-1')}")
    assert claim_key("session", "session-1") == f"mcp:{{{digest('session-1')}}}:session"
    rows = [(code("".join(f"{len(part.encode())}:{part}," for part in each)), code(digest(*each))) for each in parts]
    head = f"The [keys](#keys) are of version {LAYOUT_VERSION} (`GET {LAYOUT_KEY}`). Test vectors:"
    return "\n\n".join([head, table(("Bytes that are hashed", "Digest"), rows)])


def entries() -> str:
    return table(("Field", "Meaning"), [(code(name), words) for name, words in FIELDS.items()])


def receipt() -> str:
    return table(("Member", "Meaning"), [(code(name), words) for name, words in receipts.FIELDS.items()])


PUBLIC_SCRIPTS: Final = ("account_set", "credits", "forget", "grant", "lift", "revoke", "revoke_all")
"""Scripts for other programs; the rest belongs to the sidecar."""


def scripts() -> str:
    """Print the signatures of the scripts that other programs run, as in their files."""
    shown = []
    for name in PUBLIC_SCRIPTS:
        path = ROOT / "sidecar" / "store" / "commands" / "lua" / f"{name}.lua"
        lines = path.read_text("utf-8").splitlines()
        header: list[str] = []
        for line in lines[1:]:
            if line.startswith(("-- include", "-- generate")) or not (line == "--" or line.startswith("-- ")):
                break
            header.append(line.removeprefix("--").removeprefix(" "))
        signature = header[header.index("") + 1 :]
        shown.append("\n".join([f"### {path.stem}", "", "```text", *signature, "```"]))
    return "\n\n".join(shown)


def token_kinds() -> str:
    """List the evidence of a token's kind."""
    names = " ".join(map(code, token_kind.ACCESS_TYPES))
    rows = [("`typ` of a JWT's header", names, f"all but `{token_kind.UNTYPED}` and none")]
    for name, values in token_kind.ACCESS_VALUES.items():
        rows.append((f"`{name}`, a claim or member", " ".join(map(code, values)), f"all but `{token_kind.UNTYPED}`"))
    rows.append((" ".join(map(code, token_kind.ACCESS_MEMBERS)), 'if present, but for the list `["openid"]`', ""))
    rows.append(("`aud`", "if without the token's own client", "if with it, and no row above says access token"))
    for kind, grouped in groupby(token_kind.OTHER_MEMBERS.items(), key=lambda item: item[1]):
        rows.append((" ".join(code(name) for name, _ in grouped), "", f"if present: {kind}"))
    bound = ", ".join(f"`{name}`: {method}" for name, method in token_kind.BINDINGS.items())
    rows.append(("`cnf`", "", f"if present: bound to a key ({bound})"))
    return table(("Evidence", "Access token", "Refused"), rows)


# --- admin API ---------------------------------------------------------------------------------


def api_routes() -> str:
    rows = [
        (code(f"{route.method} {route.path}"), code(route.permission), route.summary, ", ".join(_inputs(route)))
        for route in ROUTES
    ]
    return table(("Request", "Permission", "Effect", "Parameters"), rows)


def _inputs(route: Route) -> list[str]:
    return [code(each.name) for each in route.parameters if each.place != "path" and each.name != "issuer"]


def api_problems() -> str:
    return table(("Code", "HTTP", "Meaning"), [(code(each.id), str(each.status), each.sentence) for each in ApiCode])


# --- pages -------------------------------------------------------------------------------------

TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "errors": errors,
    "metrics": metrics,
    "settings": settings,
    "policy": lambda: _keys_of(models.PolicyDocument),
    "tool": lambda: _keys_of(models.ToolDocument),
    "operation": operation,
    "call": lambda: _names_of(case_models.TestCallDocument),
    "amount": lambda: _keys_of(models.AmountDocument),
    "caller": lambda: _names_of(case_models.TestCallerDocument),
    "step": lambda: _keys_of(case_models.TestStepDocument),
    "settlement": settlement,
    "vectors": vectors,
    "entries": entries,
    "receipt": receipt,
    "scripts": scripts,
    "token-kinds": token_kinds,
    "api-routes": api_routes,
    "api-problems": api_problems,
}


def rendered(page: str) -> str:
    """Return a page with its tables made from the code."""
    return MARKED.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[4]}", page)


def used() -> list[str]:
    """The names of all parts in all pages."""
    return [match[2] for page in PAGES for match in MARKED.finditer(page.read_text("utf-8"))]


def main(argv: Sequence[str]) -> int:
    stale = [page for page in PAGES if rendered(page.read_text("utf-8")) != page.read_text("utf-8")]
    for page in stale:
        print(f"{page.relative_to(ROOT)}: {'written' if '--write' in argv else 'differs from the code'}")
        if "--write" in argv:
            page.write_text(rendered(page.read_text("utf-8")), "utf-8")
    return 1 if stale and "--write" not in argv else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
