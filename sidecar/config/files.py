"""Reading of config and policy files, with substitution of `${...}` in the config.

Every command uses this reader, so that `serve`, `check`, `test` and all further commands accept the same files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import Field

from sidecar.config.documents.merging import (
    Document,
    DocumentError,
    Model,
    Position,
    Problem,
    Substitute,
    parse,
    validate,
)
from sidecar.config.documents.suggestions import nearest
from sidecar.config.file_reader import DiskReader, FileReader
from sidecar.config.settings.scalars import FilePath, FilePaths
from sidecar.config.settings.settings import Settings, settings_of

_REFERENCE: Final = re.compile(r"\$\{([^{}]*)\}|\$\{")
_VARIABLE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_FORMS: Final = "${NAME}, ${NAME:-default} or ${file:/path}"


def load_settings(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read a config file.

    Args:
        path: the file; relative paths in it are relative to its folder.
        environ: values of `${NAME}`; None: this process's environment.

    Raises:
        DocumentError: all problems of the file; they contain no substituted value.
    """
    return settings_of(read_config(path, environ), path.parent)


def read_config(path: Path, environ: Mapping[str, str] | None = None, files: FileReader | None = None) -> Document:
    """Parse a config file and substitute `${...}`; arguments as for `load_settings`.

    Args:
        path: the file.
        environ: values of `${NAME}`; None: this process's environment.
        files: reads the files; None: from disk.

    Raises:
        DocumentError: the file is unreadable or no YAML.
    """
    files = files or DiskReader()
    substitute = substitution(os.environ if environ is None else environ, path.parent, files)
    return parse(str(path), _read(path, files), substitute)


FilesStamp = tuple[tuple[str, tuple[int, ...] | None], ...]
"""File status of config and policy files, and of those that the config substitutes, compared to detect changed, added
and removed files."""


def stamp_of(config: Path, policies: Path | tuple[Path, ...]) -> FilesStamp:
    """Return the status of the files; links are followed, and only the config is opened.

    Args:
        config: the config file.
        policies: its policy files or their folder.
    """
    try:
        files = policy_files(policies)
    except DocumentError:
        files = (policies,) if isinstance(policies, Path) else policies
    return tuple((str(file), _stamp(file)) for file in (config, *_substituted(config), *files))


def _substituted(config: Path) -> tuple[Path, ...]:
    """Return the files of the config's `${file:...}`; none for an unreadable config, which the loader reports."""
    try:
        names = _REFERENCE.findall(_read(config))
    except DocumentError:
        return ()
    return tuple(config.parent / name.removeprefix("file:") for name in names if name.startswith("file:"))


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def named_policies(config: Path) -> Path | tuple[Path, ...] | None:
    """Return the policy files or folder that the config on disk names; None for an unreadable config."""
    try:
        return configured_policies(read_config(config), config.parent)
    except DocumentError:
        return None


class _Policies(Model):
    policies: FilePaths = Field(default=Settings.model_fields["policies"].default, validate_default=True)


def configured_policies(document: Document, base: Path) -> Path | tuple[Path, ...] | None:
    """Return the policy files or folder that a config names, valid or not; None without a valid `policies`."""
    value = {key: document.value[key] for key in ("policies",) if key in document.value}
    try:
        return validate(_Policies, Document(document.file, value), base=base).policies
    except DocumentError:
        return None


class _Control(Model):
    control: FilePath | None = None


def named_control(config: Path) -> Path | None:
    """Return the path of the control socket that a config names, even if other keys are wrong.

    Raises:
        DocumentError: the config is unreadable, or `control` is no path.
    """
    document = read_config(config)
    value = {key: document.value[key] for key in ("control",) if key in document.value}
    return validate(_Control, Document(document.file, value), base=config.parent).control


def load_policies(policies: Path | tuple[Path, ...], files: FileReader | None = None) -> tuple[Document, ...]:
    """Read the policy files: those of a folder sorted by name, or those of a list in its order.

    A readable document keeps its problems, which `validate` raises with its own.

    Args:
        policies: the folder, or the files.
        files: reads the files; None: from disk.

    Raises:
        DocumentError: there are no files, or some are unreadable.
    """
    files = files or DiskReader()
    return tuple(load_documents(policy_files(policies, files), files))


def load_documents(paths: Iterable[Path], files: FileReader | None = None) -> tuple[Document, ...]:
    """Read files without substitution.

    Args:
        paths: of the files.
        files: reads them; None: from disk.

    Raises:
        DocumentError: some are unreadable; the error has the problems of the readable ones too.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            documents.append(parse(str(path), _read(path, files), secrets=False))
        except DocumentError as error:
            problems += error.problems
    if problems:
        raise DocumentError([*problems, *(each for document in documents for each in document.problems)])
    return tuple(documents)


def policy_files(policies: Path | tuple[Path, ...], reader: FileReader | None = None) -> tuple[Path, ...]:
    """Return the current files of the policy at `Settings.policies`.

    Args:
        policies: the folder, or the files.
        reader: reads the folder; None: from disk.

    Raises:
        DocumentError: the folder is unreadable or has no files: a policy without files would have no rules.
    """
    if isinstance(policies, tuple):
        return policies
    reader = reader or DiskReader()
    if reader.is_file(policies):
        return (policies,)
    try:
        names = sorted(name for name in reader.names(policies) if Path(name).suffix == ".yaml")
    except OSError as error:
        raise _unreadable(policies, error) from None
    files = tuple(policies / name for name in names if not name.startswith("."))
    if not files:
        raise DocumentError([Problem(Position(str(policies)), "", "no policy in this folder", "files named *.yaml")])
    return files


def missing_policies(
    document: Document, policies: Path | tuple[Path, ...], files: FileReader | None = None
) -> Iterator[Problem]:
    """Yield a problem for each policy file or folder that a config names and that does not exist.

    The default folder is not reported where the config has an unknown key that resembles `policies`.
    """
    if "policies" not in document.value and any(nearest(key, ["policies"]) for key in document.value):
        return
    for index, path in enumerate([policies] if isinstance(policies, Path) else policies):
        if not (files or DiskReader()).exists(path):
            place: tuple[str | int, ...] = ("policies",) if isinstance(policies, Path) else ("policies", index)
            near = nearest(path.name, [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else ())
            wrong = "cannot be read (No such file or directory)"
            yield document.problem(place, wrong, "a folder of *.yaml files, or a list of files", near=near)


def substitution(environ: Mapping[str, str], base: Path, files: FileReader | None = None) -> Substitute:
    """Return a function that replaces `${NAME}`, `${NAME:-default}` and `${file:path}` in a text, once.

    As in a shell, the default also replaces a variable that is set but empty. The line end at the end of
    a file is not part of its value.
    """

    def replace(match: re.Match[str]) -> str:
        inside = match[1]
        if inside is None:
            raise ValueError(f"a ${{ that is not closed; accepted: {_FORMS}")
        if inside.startswith("file:"):
            return _secret(base / inside.removeprefix("file:"), files or DiskReader())
        variable = _VARIABLE.fullmatch(inside)
        if variable is None:
            raise ValueError(f"not a substitution; accepted: {_FORMS}")
        name, default = variable.groups()
        if (value := environ.get(name)) or (value is not None and default is None):
            return value
        if default is None:
            raise ValueError(
                f"the environment variable {name} is not set; accepted: a value for it, or ${{{name}:-default}}"
            )
        return str(default)

    return lambda text: _REFERENCE.sub(replace, text)


def _secret(path: Path, files: FileReader) -> str:
    try:
        text = files.read(path).decode("utf-8")
    except OSError as error:
        fault = f"the file to substitute cannot be read ({error.strerror})"
        raise ValueError(f"{fault}; accepted: a file that this user can read") from None
    except UnicodeDecodeError:
        raise ValueError("the file to substitute is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _read(path: Path, files: FileReader | None = None) -> str:
    try:
        data = (files or DiskReader()).read(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        place = Position(str(path), before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        raise DocumentError([Problem(place, "", "not UTF-8")]) from None


def _unreadable(path: Path, error: OSError) -> DocumentError:
    return DocumentError([Problem(Position(str(path)), "", f"cannot be read ({error.strerror})")])
