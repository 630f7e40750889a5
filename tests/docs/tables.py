"""The parts of the documentation that are made from the code.

    python -m tests.docs.tables            say which pages differ from the code; exit status 1 if any
    python -m tests.docs.tables --write    bring them up to date

A part stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

from sidecar.config import enforced
from sidecar.config.settings_schema import settings_schema
from sidecar.errors import Blame, ErrorCode, Shape
from sidecar.ledger import receipts
from sidecar.ledger.journal_entries import FIELDS
from sidecar.ledger.keys import account_keys, digest
from sidecar.ledger.layout import LAYOUT_KEY, LAYOUT_VERSION
from sidecar.ledger.settlement_table import ENDINGS, Ending, Theme
from sidecar.model import OnUnknown
from sidecar.observe.metrics import Metrics
from sidecar.policy import models, reading

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_MARKED: Final = re.compile(r"(<!-- table: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def code(text: object) -> str:
    return f"`{text}`"


# --- errors ------------------------------------------------------------------------------------

_SHAPES: Final = {
    Shape.CHALLENGE: "challenge",
    Shape.TOOL_RESULT: "tool result",
    Shape.RPC_ERROR: "JSON-RPC error",
    Shape.HTTP: "problem JSON",
}
_CURES: Final = {
    Blame.CLIENT: "client",
    Blame.ACCOUNT: "account holder",
    Blame.OPERATOR: "operator",
    Blame.BACKEND: "backend",
}


def errors() -> str:
    rows = [
        (
            f"[`{each.id}`](#{each.id})",
            each.row.gate.value,
            str(each.row.status),
            str(each.row.rpc),
            _SHAPES[each.row.shape],
            _CURES[each.row.blame],
            "yes" if each.row.retryable else "no",
            each.row.sentence,
        )
        for each in ErrorCode
    ]
    return table(("Code", "Gate", "HTTP", "JSON-RPC", "Shape", "Who can cure it", "Retry", "Sentence"), rows)


# --- metrics -----------------------------------------------------------------------------------


def metrics() -> str:
    return table(("Name", "Type", "Labels", "Help"), metric_rows())


def metric_rows() -> list[tuple[str, str, str, str]]:
    """Name, type, labels and help of every metric, as they are scraped."""
    rows = []
    for each in vars(Metrics()).values():
        if not isinstance(each, MetricWrapperBase):
            continue
        described = next(iter(each.describe()))
        suffix = "_total" if described.type == "counter" else ""
        labels = ", ".join(map(code, each._labelnames))
        rows.append((code(described.name + suffix), described.type, labels, described.documentation))
    # Not kept by anybody: it is set once.
    return [*rows, (code("mcp_sidecar_build_info"), "gauge", "`version`, `python`", "This build.")]


# --- settings ----------------------------------------------------------------------------------

Schema = Mapping[str, Any]

_PATTERNS: Final = (
    ("(ms|s|m|h)", "duration"),
    ("KiB", "size"),
    ("embedded", "`embedded`, `redis://…`, `unix://…`"),
    ("https?://", "URL"),
    ("://", "origin"),
    (":([0-9]{1,5})$", "host:port"),
    ("(?::[0-9]{1,5})?$", "host name"),
)
# What stands in a table where the code has no words for one key alone.
_MEANINGS: Final = {
    "listen": "Where MCP and the well-known documents are served; or `{address: host:port, tls: …}`.",
    "backend.url": "The MCP endpoint of the server behind the sidecar.",
    "log.format": "There is one format.",
    "log.level": "Lines below it are not written.",
}
_SKIPPED: Final = ("listen.address",)


def settings() -> str:
    schema = enforced.enforced_schema(settings_schema())
    return table(("Key", "Type", "Default", "Meaning"), _settings(schema, schema, "", "required"))


def _settings(whole: Schema, node: Schema, prefix: str, required: str) -> list[tuple[str, str, str, str]]:
    rows = []
    for name, entry in node["properties"].items():
        key, below = prefix + name, _section(whole, entry)
        if key in _SKIPPED:
            continue
        if below is None or key == "listen":
            default = required if name in node.get("required", ()) else _default(entry.get("default"))
            rows.append((code(key), _type(entry), default, _meaning(key, entry)))
        if below is not None:
            listed = "[]" if entry.get("type") == "array" else ""
            optional = any(form.get("type") == "null" for form in entry.get("anyOf", ()))  # it may be left out
            inside = f"required in `{name}`" if optional else "required"
            rows += _settings(whole, below, f"{key}{listed}.", inside)
    return rows


def _section(whole: Schema, entry: Schema) -> Schema | None:
    forms = [entry, entry.get("items", {}), *entry.get("anyOf", ())]
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
    return code(value)


def _type(entry: Schema) -> str:
    kinds = [_kind(each) for each in _alternatives(entry)]
    return " or ".join(dict.fromkeys(kind for kind in kinds if kind))


def _alternatives(entry: Schema) -> list[Schema]:
    """What a value may be, `${...}` and null left out."""
    if "anyOf" not in entry:
        return [entry]
    found = [below for each in entry["anyOf"] for below in _alternatives(each)]
    return [each for each in found if each.get("type") != "null" and not each.get("pattern", "").startswith(r"\$")]


def _kind(entry: Schema) -> str:
    if "$ref" in entry:
        return ""
    if "const" in entry or "enum" in entry:
        return ", ".join(map(code, entry.get("enum") or [entry["const"]]))
    if entry["type"] == "object":
        return f"map of {_type(entry['additionalProperties'])}"
    if entry["type"] == "array":
        return f"list of {_type(entry['items'])}"
    if entry["type"] == "integer":
        return f"integer {entry['minimum']} to {entry['maximum']}"
    return next((words for part, words in _PATTERNS if part in entry.get("pattern", "")), "text")


def config_later() -> str:
    values = ["`workers` other than `1`", "`store.url` other than `embedded`, `redis://…`, `unix://…`"]
    return "\n".join(f"- {each}" for each in values)


# --- policy ------------------------------------------------------------------------------------


def policy_later() -> str:
    paths = [".".join(path) for path in reading._PENDING]
    sections = [path for path in paths if not path.endswith(".mode")]
    return "\n".join([*(f"- {code(path)}" for path in sections), "- `mode: shadow`, wherever it stands"])


def _keys_of(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    required = schema.get("required", ())
    rows = [
        (code(name), "required" if name in required else "", entry["description"])
        for name, entry in schema["properties"].items()
    ]
    return table(("Key", "", "Meaning"), rows)


# --- settlement --------------------------------------------------------------------------------

_SETTLEMENT: Final = (
    *("What became of the call", "Event"),
    *("`on_unknown: release`", "`on_unknown: settle`", "Fixed quota amount"),
)


def settlement() -> str:
    parts: list[str] = []
    for theme in Theme:
        rows = [_ending(ending) for ending in ENDINGS if ending.theme is theme]
        parts += [f"### {theme.value}", table(_SETTLEMENT, rows)]
    return "\n\n".join(parts)


def _ending(ending: Ending) -> tuple[str, ...]:
    events = ", then ".join(code(event.value) for event in ending.events)
    return (
        ending.words,
        f"{events}; `late`" if ending.late else events,
        ending.costs[OnUnknown.RELEASE].value,
        ending.costs[OnUnknown.SETTLE].value,
        "used up" if ending.sent else "given back",
    )


# --- store -------------------------------------------------------------------------------------


def vectors() -> str:
    parts = (("main", "acme"), ("main", "é"), ("user-1", "https://client.example/app.json"), ("https://c.example",))
    rows = [
        (
            code(", ".join(map(repr, each))),
            code("".join(f"{len(part.encode())}:{part}," for part in each)),
            code(digest(*each)),
        )
        for each in parts
    ]
    keys = account_keys("main", "acme")
    examples = (
        ("account record", keys.account),
        ("consent of subject `user-1` to client `cli-1`", keys.consent("user-1", "cli-1")),
        ("client `cli-1`, every subject", keys.client("cli-1")),
        ("those that `credits` takes, in its order", "` `".join([*keys.money, keys.account, keys.done("order-1")])),
    )
    return "\n\n".join(
        [
            table(("Parts", "Bytes that are hashed", "Digest"), rows),
            "Keys of account `acme` of issuer `main`:",
            table(("What", "Key"), [(what, code(key)) for what, key in examples]),
            f"The layout that these belong to is version {LAYOUT_VERSION}, which `GET {LAYOUT_KEY}` answers.",
        ]
    )


def entries() -> str:
    return table(("Field", "Says"), [(code(name), words) for name, words in FIELDS.items()])


def receipt() -> str:
    return table(("Member", "Says"), [(code(name), words) for name, words in receipts.FIELDS.items()])


def scripts() -> str:
    """The header of every script, as it stands in its file."""
    shown = []
    for path in sorted((ROOT / "sidecar" / "ledger" / "lua").glob("*.lua")):
        lines = path.read_text("utf-8").splitlines()
        if not lines[0].startswith("#!lua"):
            continue  # a part that others include
        header: list[str] = []
        for line in lines[1:]:
            if line.startswith("-- include") or not (line == "--" or line.startswith("-- ")):
                break
            header.append(line.removeprefix("--").removeprefix(" "))
        shown.append("\n".join([f"### {path.stem}", "", "```text", *header, "```"]))
    return "\n\n".join(shown)


def alerts() -> str:
    return f"```yaml\n{(ROOT / 'deploy' / 'alerts.yaml').read_text('utf-8')}```"


# --- pages -------------------------------------------------------------------------------------

TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "errors": errors,
    "metrics": metrics,
    "alerts": alerts,
    "settings": settings,
    "config-later": config_later,
    "policy-later": policy_later,
    "policy": lambda: _keys_of(models.PolicyDocument),
    "tool": lambda: _keys_of(models.ToolDocument),
    "operation": lambda: _keys_of(models.OperationDocument),
    "call": lambda: _keys_of(models.TestCallDocument),
    "amount": lambda: _keys_of(models.AmountDocument),
    "caller": lambda: _keys_of(models.TestCallerDocument),
    "settlement": settlement,
    "vectors": vectors,
    "entries": entries,
    "receipt": receipt,
    "scripts": scripts,
}


def rendered(page: str) -> str:
    """A page with its parts made anew."""
    return _MARKED.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[4]}", page)


def used() -> list[str]:
    """The names of all parts in all pages."""
    return [match[2] for page in PAGES for match in _MARKED.finditer(page.read_text("utf-8"))]


def main(argv: Sequence[str]) -> int:
    stale = [page for page in PAGES if rendered(page.read_text("utf-8")) != page.read_text("utf-8")]
    for page in stale:
        print(f"{page.relative_to(ROOT)}: {'written' if '--write' in argv else 'differs from the code'}")
        if "--write" in argv:
            page.write_text(rendered(page.read_text("utf-8")), "utf-8")
    return 1 if stale and "--write" not in argv else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
