"""Settings of an issuer's audience and scopes: what binds a token to this resource, and what it permits here."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from sidecar.config.documents.merging import FindingsError, Lax, Model

Name = Annotated[str, Field(min_length=1, max_length=255)]
ClientId = Annotated[str, Field(min_length=1, max_length=2048)]

_TEXT_OR_LIST: Final = BeforeValidator(
    lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]
)
OneOrMore = Annotated[tuple[Name, ...], Field(strict=False, min_length=1), _TEXT_OR_LIST]
"""One text, or a list of texts."""
Clients = Annotated[tuple[ClientId, ...], Field(strict=False, min_length=1), _TEXT_OR_LIST]
"""One client id, or a list of them."""

# RFC 6749 section 3.3: the characters of one scope.
ScopeText = Annotated[str, Field(pattern=r"^[\x21\x23-\x5B\x5D-\x7E]{1,255}$")]
Scopes = Annotated[tuple[ScopeText, ...], Field(strict=False, min_length=1), _TEXT_OR_LIST]
"""One scope, or a list of scopes."""

_MAX_PARTS: Final = 16
# RFC 7519 section 4.1, RFC 8693 section 4: these are text, numbers or a list, and have no members.
_PLAIN_CLAIMS: Final = ("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "scp", "client_id", "azp")
# These never name an account or a client: they are no text, new in each token, or the same for many accounts.
_NO_NAMES: Final = ("iss", "exp", "nbf", "iat", "jti", "scope", "scp")
# These never hold scopes.
_NO_SCOPES: Final = ("iss", "sub", "exp", "nbf", "iat", "jti", "client_id", "azp")


# --- paths -------------------------------------------------------------------------------------


def _path(path: str) -> str:
    parts = path.split(".")
    if len(parts) > _MAX_PARTS:
        raise ValueError(f"too many dots; at most {_MAX_PARTS - 1}")
    if not all(parts):
        raise ValueError("an empty name between dots; a claim, or a path such as realm_access.roles")
    if len(parts) > 1 and parts[0] in _PLAIN_CLAIMS:
        raise ValueError(f"{parts[0]} has no members; the claim itself, or a path into a claim that is an object")
    return path


ClaimPath = Annotated[Name, AfterValidator(_path)]
"""The name of a claim, or a dotted path into claims that are objects."""


def _name_path(path: str) -> str:
    if path in _NO_NAMES:
        raise ValueError(f"{path} never names an account or a client; a claim such as sub, client_id or org_id")
    return path


NamePath = Annotated[ClaimPath, AfterValidator(_name_path)]
"""The name of a claim, or a path, that has the name of an account or a client."""


def _scope_paths(paths: tuple[str, ...]) -> tuple[str, ...]:
    findings: list[tuple[tuple[str | int, ...], str, str]] = []
    for index, path in enumerate(paths):
        if path in _NO_SCOPES:
            findings.append(((index,), f"{path} never holds scopes", "a claim that lists scopes, roles or groups"))
        elif path in paths[:index]:
            findings.append(((index,), "given twice", "each path once"))
    if findings:
        raise FindingsError(findings)
    return paths


ScopePaths = Annotated[
    tuple[ClaimPath, ...], Field(strict=False, min_length=1), AfterValidator(_scope_paths), _TEXT_OR_LIST
]
"""One path, or a list of paths in order of preference."""


# --- audience ----------------------------------------------------------------------------------


# Tags are no names that a config may contain: the location of an error has them among its keys.
_VALUES, _CLIENTS, _TEXT, _LIST = "accepted values", "accepted clients", "one text", "list of texts"


def _absent_or_constants(value: object) -> object:
    if value != "absent" and not (isinstance(value, list | tuple) and value):
        raise ValueError("of no accepted form; absent, or a list of the constants that these tokens have")
    return value


class ClientAudience(Model):
    """Tokens of an issuer that cannot bind them to a resource: accepted from these clients only."""

    client_ids: Clients
    """The clients; those that register themselves cannot be listed."""
    aud: Annotated[
        Annotated[Literal["absent"], Tag(_TEXT)] | Annotated[Lax[tuple[Name, ...]], Field(min_length=1), Tag(_LIST)],
        Discriminator(lambda value: _TEXT if isinstance(value, str) else _LIST),
        BeforeValidator(_absent_or_constants, json_schema_input_type=Literal["absent"] | list[str]),
    ]
    """`absent`: only tokens without `aud`. A list: only tokens whose `aud` names nothing but these."""


Audience = Annotated[
    Annotated[OneOrMore, Tag(_VALUES)] | Annotated[ClientAudience, Tag(_CLIENTS)],
    Discriminator(lambda value: _CLIENTS if isinstance(value, dict | ClientAudience) else _VALUES),
]
"""Accepted values of `aud`, or the clients of an issuer that cannot bind its tokens."""


# --- scopes ------------------------------------------------------------------------------------


class Claims(Model):
    """Names of claims."""

    account: NamePath = "sub"
    """The claim or path of the account."""
    client_id: NamePath | None = None
    """The claim or path of the client; default: `client_id`, else `azp`."""
    scopes: ScopePaths | None = None
    """Claims or dotted paths of the scopes, in order: the first with a declared scope; default: `scope`, `scp`."""


class Grant(Model):
    """Scopes that the operator grants, because the issuer cannot put them into tokens."""

    all: bool | None = None
    """True: to every valid token of the issuer."""
    clients: Clients | None = None
    """To tokens of these client ids."""
    claim: ClaimPath | None = None
    """To tokens in which this claim or path, such as `groups`, has one of `values`."""
    values: OneOrMore | None = None
    """The values of `claim`, compared exactly."""
    scopes: Scopes
    """Declared scopes; never published or requested, because the issuer does not know them."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = {"all", "clients", "claim", "values"} & self.model_fields_set
        if given not in ({"all"}, {"clients"}, {"claim", "values"}):
            count = "alone" if len(given) == 1 else "together"
            wrong = f"{' and '.join(sorted(given))} {count}" if given else "no receiver"
            raise FindingsError([((), wrong, "either all, or clients, or claim with values")])
        if given == {"all"} and not self.all:
            raise FindingsError([(("all",), "false", "true, or clients, or claim with values")])
        return self
