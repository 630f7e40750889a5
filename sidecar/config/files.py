"""The config and policy files on disk, and what is substituted in the config.

The one loader of every command: `serve`, `check`, `test` and the rest see the same files alike.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pydantic import Field

from sidecar.config.documents import Document, DocumentError, Model, Place, Problem, Substitute, parse, validate
from sidecar.config.enforced import withheld, withheld_policy
from sidecar.config.settings import Settings, settings_of
from sidecar.config.settings_types import FilePaths

_REFERENCE: Final = re.compile(r"\$\{([^{}]*)\}|\$\{")
_VARIABLE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_FORMS: Final = "${NAME}, ${NAME:-default} or ${file:/path}"


def load_settings(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read a config file.

    Args:
        path: the file; relative paths in it are relative to its folder.
        environ: what `${NAME}` stands for; None: this process's environment.

    Raises:
        DocumentError: all that is wrong with it; holds nothing that was substituted.
    """
    return settings_of(withheld(read_config(path, environ)), path.parent)


def read_config(path: Path, environ: Mapping[str, str] | None = None) -> Document:
    """Parse a config file and substitute `${...}`; arguments as for `load_settings`.

    Raises:
        DocumentError: nothing sensible can be read.
    """
    substitute = substitution(os.environ if environ is None else environ, path.parent)
    return parse(str(path), _read(path), substitute)


class _Policies(Model):
    policies: FilePaths = Field(default=Settings.model_fields["policies"].default, validate_default=True)


def configured_policies(document: Document, base: Path) -> Path | tuple[Path, ...] | None:
    """Where a config says its policies are, whatever else is wrong with it; None when that cannot be told."""
    value = {key: document.value[key] for key in ("policies",) if key in document.value}
    try:
        return validate(_Policies, Document(document.file, value), base=base).policies
    except DocumentError:
        return None


def load_policies(policies: Path | tuple[Path, ...]) -> tuple[Document, ...]:
    """Read the policy files: those of a folder by name, or those listed in their order.

    What is wrong with a document that can be read is kept in it, for `validate` to raise with the rest.

    Raises:
        DocumentError: there are none, or some cannot be read at all.
    """
    return tuple(withheld_policy(each) for each in load_documents(policy_files(policies)))


def load_documents(files: Iterable[Path]) -> tuple[Document, ...]:
    """Read files that nothing is substituted in.

    Raises:
        DocumentError: some cannot be read; has the problems of the others too.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    for file in files:
        try:
            documents.append(parse(str(file), _read(file)))
        except DocumentError as error:
            problems += error.problems
    if problems:
        raise DocumentError([*problems, *(each for document in documents for each in document.problems)])
    return tuple(documents)


def policy_files(policies: Path | tuple[Path, ...]) -> tuple[Path, ...]:
    """The files that make the policy now, where `Settings.policies` says.

    Raises:
        DocumentError: the folder cannot be read or has none. No file would mean no rule.
    """
    if isinstance(policies, tuple):
        return policies
    if policies.is_file():
        return (policies,)
    try:
        names = sorted(entry.name for entry in policies.iterdir() if entry.suffix == ".yaml")
    except OSError as error:
        raise _unreadable(policies, error) from None
    files = tuple(policies / name for name in names if not name.startswith("."))
    if not files:
        raise DocumentError([Problem(Place(str(policies)), "", "no policy in this folder", "files named *.yaml")])
    return files


def substitution(environ: Mapping[str, str], base: Path) -> Substitute:
    """What replaces `${NAME}`, `${NAME:-default}` and `${file:path}` in a text; results are not read again.

    As in a shell, the default also stands for a variable that is set but empty. The line end that
    closes a file is not part of its value.
    """

    def replace(match: re.Match[str]) -> str:
        inside = match[1]
        if inside is None:
            raise ValueError(f"a ${{ that is not closed; accepted: {_FORMS}")
        if inside.startswith("file:"):
            return _secret(base / inside.removeprefix("file:"))
        variable = _VARIABLE.fullmatch(inside)
        if variable is None:
            raise ValueError(f"not a substitution; accepted: {_FORMS}")
        name, default = variable.groups()
        if (value := environ.get(name)) or (value is not None and default is None):
            return value
        if default is None:
            raise ValueError(f"the environment variable {name} is not set")
        return str(default)

    return lambda text: _REFERENCE.sub(replace, text)


def _secret(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ValueError(f"the file to substitute cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("the file to substitute is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        place = Place(str(path), before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        raise DocumentError([Problem(place, "", "not UTF-8")]) from None


def _unreadable(path: Path, error: OSError) -> DocumentError:
    return DocumentError([Problem(Place(str(path)), "", f"cannot be read ({error.strerror})")])
