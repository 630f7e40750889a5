"""Write the receipt into the text of a backend's message, and change nothing else in the text.

The message is not serialized again: that would respell numbers (`1.0`, integers beyond 2^53) and escapes, lose halves
of surrogate pairs and repeated names, and take longer than all other work on a large answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from sidecar.protocol.meta import RECEIPT_KEY, REFUSAL_KEY
from sidecar.protocol.strict.folding import fold
from sidecar.protocol.strict.jsontext import BLANKS, JsonText, Member, past

_OURS: Final = frozenset({RECEIPT_KEY, REFUSAL_KEY})
_PREFIX: Final = "mcp-policy-sidecar"  # a slash after it may be escaped with a backslash
# Escapes of the characters in the names that are read here: `_meta`, `result` and the sidecar's own keys.
_DISGUISED: Final = re.compile(r"\\u00(?:2[dDfF]|5[fF]|6[1-9a-fA-F]|7[0-9aA])")
_OPENING: Final = re.compile(r"[ \t\n\r]*:[ \t\n\r]*\{")  # between a name and the members of its object

# Members of a message that hold a tool's result; `params` is that of task notifications.
_BODIES: Final = frozenset({"result", "params"})
_IN_BODY: Final = frozenset({"_meta", "result"})
_LONGEST: Final = 6  # characters of these names: no longer name folds into one of them


def stamped(text: str, result: Mapping[str, Any] | None, receipt: Mapping[str, Any] | None) -> str:
    """Return the message with a receipt in its result's `_meta`, and without forged receipts and refusals.

    If `_meta` is no object, clients can read nothing in it, and the receipt replaces it.

    Args:
        text: one JSON-RPC message that has been parsed before; it is not checked again.
        result: its parsed result; None without one.
        receipt: the receipt to write; None only removes forged ones.
    """
    if _PREFIX in text or ("\\u00" in text and _DISGUISED.search(text) is not None):
        return _stamped_by_member(text, receipt)
    if receipt is None or result is None:
        return text
    stamp = _member(receipt)
    if "_meta" not in result:
        at, stamp = _only('"result"', text), f'"_meta":{{{stamp}}}'
    elif isinstance(result["_meta"], dict):
        at = _only('"_meta"', text)
    else:
        at = -1
    if at < 0:
        return _stamped_by_member(text, receipt)
    return f"{text[:at]}{_before(text, at, stamp)}{text[at:]}"


def _is_clean(text: str, start: int, end: int) -> bool:
    """Return whether a part of a text contains none of the sidecar's keys, in any spelling."""
    if text.find(_PREFIX, start, end) >= 0:
        return False
    return text.find("\\u00", start, end) < 0 or _DISGUISED.search(text, start, end) is None


def _only(name: str, text: str) -> int:
    """Return the position in the object of a quoted name that occurs exactly once; -1 if it occurs more often.

    Reading the message has shown that the name exists, outside of any string and in this spelling. Quotes within
    strings are escaped, so only the end of a string could look like it, which would be a second match.
    """
    only = -1
    at = text.find(name)
    while at >= 0:
        at += len(name)
        opened = _opened(text, at)
        if opened >= 0:
            if only >= 0:
                return -1
            only = opened
        at = text.find(name, at)
    return only


def _opened(text: str, at: int) -> int:
    """Return the position in the object that is the value of the name before; -1 if there is none."""
    if text.startswith(": {", at):  # these two are almost all
        return at + 3
    if text.startswith(":{", at):
        return at + 2
    opening = _OPENING.match(text, at)
    return -1 if opening is None else opening.end()


# --- member by member ----------------------------------------------------------------------------

_Edit = tuple[int, int, str]
"""Start and end of a part of the text, and its replacement."""


def _stamped_by_member(text: str, receipt: Mapping[str, Any] | None) -> str:
    """Return the stamped text of a message that must be inspected member by member.

    Parsers differ on repeated names and on names in another case: forged keys are removed from every member that a
    parser could read. The receipt goes into the last one, which most parsers read.
    """
    message = JsonText(text)
    bodies = [each for each in message.members(past(BLANKS, text, 0)) if _reads(each.name) in _BODIES]
    own = _last(bodies, "result")
    edits: list[_Edit] = []
    for body in bodies:
        if text[body.value] == "{" and (body is own or not _is_clean(text, body.value, body.end)):
            edits += _in_body(message, body.value, receipt if body is own else None)
    return _edited(text, edits)


def _in_body(message: JsonText, at: int, receipt: Mapping[str, Any] | None, *, of_task: bool = False) -> list[_Edit]:
    """Return the edits in a result, and in the result of the task that it contains."""
    members = [each for each in message.members(at) if _reads(each.name) in _IN_BODY]
    own = _last(members, "_meta") if receipt is not None else None
    edits: list[_Edit] = []
    for each in members:
        if each is not own and _is_clean(message.text, each.value, each.end):
            continue
        if _reads(each.name) == "_meta":
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


def _reads(name: str) -> str | None:
    """Return the name that a lenient reader reads; None for a name that is not read here."""
    return fold(name) if len(name) <= _LONGEST else None


def _last(members: list[Member], name: str) -> Member | None:
    return next((each for each in reversed(members) if each.name == name), None)


def _member(receipt: Mapping[str, Any]) -> str:
    return f'"{RECEIPT_KEY}":{orjson.dumps(receipt).decode()}'


def _insertion(text: str, at: int, member: str) -> _Edit:
    """Return the edit that inserts a member after the brace that opens an object."""
    return at, at, _before(text, at, member)


def _before(text: str, at: int, member: str) -> str:
    """Return a first member as it is written before the other members of its object, if there are any."""
    is_alone = text[at] != '"' and text[past(BLANKS, text, at)] == "}"
    return member if is_alone else f"{member},"


def _edited(text: str, edits: list[_Edit]) -> str:
    parts: list[str] = []
    done = 0
    for start, end, replacement in edits:
        parts += (text[done:start], replacement)
        done = end
    return "".join((*parts, text[done:])) if edits else text
