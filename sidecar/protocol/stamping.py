"""What the sidecar says of a result: written into the text of the backend, of which nothing else changes.

A result is not written anew for one member: that would spell numbers in another way (`1.0`, integers
beyond 2^53), lose halves of surrogate pairs, and take longer than everything else done to a large answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from sidecar.protocol.jsontext import BLANKS, JsonText, Member, past
from sidecar.protocol.meta import RECEIPT_KEY, REFUSAL_KEY
from sidecar.protocol.strictjson import fold

_OURS: Final = frozenset({RECEIPT_KEY, REFUSAL_KEY})
_PREFIX: Final = "mcp-policy-sidecar"  # a slash behind it may be written with a backslash
# Escapes of characters of which the names read here consist: `_meta`, `result` and our own keys.
_DISGUISED: Final = re.compile(r"\\u00(?:2[dDfF]|5[fF]|6[1-9a-fA-F]|7[0-9aA])")
_RESULT: Final = re.compile(r'"result"[ \t\n\r]*:[ \t\n\r]*\{')
_META: Final = re.compile(r'"_meta"[ \t\n\r]*:[ \t\n\r]*\{')

# Members of a message that hold what a tool returned; of the second kind are tasks that are told by notifications.
_BODIES: Final = frozenset({"result", "params"})


def stamped(text: str, result: Mapping[str, Any] | None, receipt: Mapping[str, Any] | None) -> str:
    """The message with a receipt in its result's `_meta`, and without what the backend says in our name.

    Where `_meta` is no object it holds nothing that a client could read, and the receipt takes its place.

    Args:
        text: one JSON-RPC message, which has been read before: it is not checked again.
        result: its result as it was read; None when it has none.
        receipt: what is to be written; None only takes out what is forged.
    """
    if _PREFIX in text or ("\\u00" in text and _DISGUISED.search(text)):
        return _walked(text, receipt)
    if receipt is None or result is None:
        return text
    meta = result.get("_meta")
    stamp = _member(receipt)
    if isinstance(meta, dict):
        at = _only(_META, text)
    else:
        at = _only(_RESULT, text) if "_meta" not in result else None
        stamp = f'"_meta":{{{stamp}}}'
    return _walked(text, receipt) if at is None else _edited(text, [_insertion(text, at, stamp)])


def _only(pattern: re.Pattern[str], text: str) -> int | None:
    """Where the object begins whose name is found once only; None when it is found more often.

    That it is there, outside of any string and spelt like this, is known from reading the message. Within
    strings quotes are escaped, so that only the end of one could look like it: that would be a second find.
    """
    found = pattern.finditer(text)
    first = next(found, None)
    return None if first is None or next(found, None) is not None else first.end()


# --- member by member ----------------------------------------------------------------------------

_Edit = tuple[int, int, str]
"""From where to where the text is replaced, and by what."""


def _walked(text: str, receipt: Mapping[str, Any] | None) -> str:
    """The same for a text that has to be looked at closely.

    Parsers differ in what they make of repeated names and of other cases: what is forged is taken out of
    every member that one of them could read. The receipt goes where most of them look, into the last.
    """
    message = JsonText(text)
    bodies = [each for each in message.members(past(BLANKS, text, 0)) if fold(each.name) in _BODIES]
    own = _last(bodies, "result")
    edits: list[_Edit] = []
    for body in bodies:
        if text[body.value] == "{":
            edits += _in_body(message, body.value, receipt if body is own else None)
    return _edited(text, edits)


def _in_body(message: JsonText, at: int, receipt: Mapping[str, Any] | None, *, of_task: bool = False) -> list[_Edit]:
    """What changes in a result, and in the result of the task that it tells about."""
    members = [each for each in message.members(at) if fold(each.name) in ("_meta", "result")]
    own = _last(members, "_meta") if receipt is not None else None
    edits: list[_Edit] = []
    for each in members:
        if fold(each.name) == "_meta":
            edits += _in_meta(message, each, receipt if each is own else None)
        elif message.text[each.value] == "{" and not of_task:
            edits += _in_body(message, each.value, None, of_task=True)
    if receipt is not None and own is None:
        edits.append(_insertion(message.text, at + 1, f'"_meta":{{{_member(receipt)}}}'))
    return sorted(edits)


def _in_meta(message: JsonText, meta: Member, receipt: Mapping[str, Any] | None) -> list[_Edit]:
    text = message.text
    members = list(message.members(meta.value)) if text[meta.value] == "{" else []
    kept = [text[each.start : each.end] for each in members if each.name not in _OURS]
    stamp = [] if receipt is None else [_member(receipt)]
    if len(kept) < len(members) or text[meta.value] != "{":
        return [(meta.value, meta.end, f"{{{','.join(stamp + kept)}}}")] if stamp or members else []
    return [_insertion(text, meta.value + 1, each) for each in stamp]


def _last(members: list[Member], name: str) -> Member | None:
    return next((each for each in reversed(members) if each.name == name), None)


def _member(receipt: Mapping[str, Any]) -> str:
    return f'"{RECEIPT_KEY}":{orjson.dumps(receipt).decode()}'


def _insertion(text: str, at: int, member: str) -> _Edit:
    """A member right behind the brace that opens an object."""
    following = past(BLANKS, text, at)
    return at, at, member if text[following] == "}" else f"{member},"


def _edited(text: str, edits: list[_Edit]) -> str:
    parts: list[str] = []
    done = 0
    for start, end, replacement in edits:
        parts += (text[done:start], replacement)
        done = end
    return "".join((*parts, text[done:])) if edits else text
