"""Problems and warnings as GitHub workflow commands, which annotate the lines of a pull request."""

from __future__ import annotations

from pathlib import Path

from sidecar.config.documents.merging import Problem
from sidecar.workbench.lint import Notice


def error_annotation(problem: Problem) -> str:
    """Return the workflow command of a problem."""
    place = problem.place
    return _command("error", place.file, place.line, place.column, problem.text)


def warning_annotation(notice: Notice) -> str:
    """Return the workflow command of a warning; one about the whole policy has no line."""
    file, _, line = notice.rule.rpartition(":")
    return _command("warning", file, int(line) if line.isdigit() else 0, 0, notice.text)


def _command(kind: str, file: str, line: int, column: int, text: str) -> str:
    parameters = {"file": _relative(file), "line": line, "col": column}
    given = ",".join(f"{name}={_escaped_value(str(value))}" for name, value in parameters.items() if value)
    return f"::{kind}{' ' if given else ''}{given}::{_escaped(text)}"


def _relative(file: str) -> str:
    """Return a path as annotations need it: relative to the repository, where the command runs."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_value(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
