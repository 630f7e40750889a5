"""Types of names and numbers in policy files, with the patterns that they accept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from sidecar.model import MAX_AMOUNT
from sidecar.window_rules import WINDOWS, Window

TOKEN_PATTERN: Final = r"^[\x21\x23-\x5B\x5D-\x7E]{1,255}$"  # noqa: S105 - RFC 6749 section 3.3, scope-token
NAME_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
TOOL_PATTERN: Final = r"^[A-Za-z0-9_./-]{1,128}$"
URI_PATTERN: Final = r"^[^\x00-\x20\x7f]{1,512}$"
PROMPT_PATTERN: Final = r"^[^\x00-\x20\x7f*]([^\x00-\x1f\x7f*]{0,126}[^\x00-\x20\x7f*])?$"
PIN_PATTERN: Final = r"^sha256-[0-9a-f]{64}$"
METHOD_PATTERN: Final = r"^[A-Za-z0-9_.:/$-]{1,128}$"

Whole = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]
ScopeName = Annotated[str, Field(pattern=TOKEN_PATTERN)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
ToolName = Annotated[str, Field(pattern=TOOL_PATTERN)]
UriPattern = Annotated[str, Field(pattern=URI_PATTERN)]
PromptName = Annotated[str, Field(pattern=PROMPT_PATTERN)]
MethodName = Annotated[str, Field(pattern=METHOD_PATTERN)]
Pin = Annotated[str, Field(pattern=PIN_PATTERN)]
Visibility = Literal["show", "hide"]
Mode = Literal["shadow"]
if TYPE_CHECKING:
    WindowName = Window
else:
    WindowName = Literal[WINDOWS]  # the same as in the table
Limits = dict[WindowName, Whole]
