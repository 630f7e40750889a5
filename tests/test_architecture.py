"""The two rules of how the house is built, and the sizes that keep it readable."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "sidecar").rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}

# Imports go to the left, or to a neighbour of the same level that does not lead back.
LEVELS = (
    ("errors", "model", "outcome"),
    ("config", "protocol", "identity", "observe"),
    ("policy",),
    ("ledger",),
    ("workbench",),
    ("proxy",),
    ("cli", "demo", "__main__"),
)
LEVEL = {package: number for number, level in enumerate(LEVELS) for package in level}

PURE = (
    "config/documents*.py",
    "config/settings*.py",
    "identity/claims*.py",
    "identity/metadata*.py",
    "protocol/jsonrpc*.py",
    "protocol/jsontext*.py",
    "protocol/headers*.py",
    "protocol/members*.py",
    "protocol/references*.py",
    "protocol/sse*.py",
    "protocol/stamping*.py",
    "protocol/task*.py",
    "protocol/uris*.py",
    "policy/rules*.py",
    "policy/pricing*.py",
    "policy/decide*.py",
    "policy/lookup*.py",
    "policy/methods*.py",
    "policy/patterns*.py",
    "ledger/accounts*.py",
    "ledger/admission*.py",
    "ledger/stored*.py",
    "ledger/settlement*.py",
    "ledger/journal*.py",
    "ledger/receipts*.py",
    "ledger/windows*.py",
    "proxy/listings*.py",
    "observe/redact*.py",
)
IMPURE_MODULES = {"aiohttp", "redis", "asyncio", "os", "time", "logging"}
# A path is a value; these are what reads or writes files, and what looks at a clock.
IMPURE_CALLS = {"open", "input", "print"}
IMPURE_METHODS = {
    *("read_text", "read_bytes", "write_text", "write_bytes", "open", "exists", "is_file", "is_dir", "iterdir", "glob"),
    *("now", "utcnow", "today"),
}


def everywhere(tree: ast.Module) -> Iterator[ast.AST]:
    return ast.walk(tree)


def at_load(tree: ast.Module) -> Iterator[ast.AST]:
    """Without what functions import when they are called: the demo uses the commands, one of which tells the demo."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from ast.walk(node)


def imports(nodes: Iterator[ast.AST]) -> Iterator[tuple[str, int]]:
    """Every module that is imported, with its line."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or "", node.lineno
            if node.module == "sidecar":
                yield from ((f"sidecar.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((str(each.value), node.lineno) for each in node.args if isinstance(each, ast.Constant))


def package(name: str) -> str:
    """The package, or the module beside them, that a file or module belongs to."""
    parts = name.removesuffix(".py").replace("/", ".").split(".")
    return parts[1] if len(parts) > 1 else ""


def used_packages(nodes: Iterator[ast.AST], name: str) -> Iterator[tuple[str, int]]:
    """The packages of the sidecar that a file imports from, beside its own."""
    for module, line in imports(nodes):
        if module.startswith("sidecar.") and package(module) in LEVEL and package(module) != package(name):
            yield package(module), line


def test_every_package_has_its_level():
    assert {package(name) for name in FILES} - {"__init__"} == set(LEVEL)


@pytest.mark.parametrize("name", [name for name in FILES if name != "sidecar/__init__.py"])
def test_imports_go_in_one_direction(name: str):
    level = LEVEL[package(name)]
    assert [(used, line) for used, line in used_packages(everywhere(TREES[name]), name) if LEVEL[used] > level] == []


def test_neighbours_do_not_lead_back():
    edges = {(package(name), used) for name, tree in TREES.items() for used, _ in used_packages(at_load(tree), name)}
    assert [edge for edge in edges if edge[::-1] in edges] == []


@pytest.mark.parametrize("pattern", PURE)
def test_pure_files_touch_nothing(pattern: str):
    found = sorted((ROOT / "sidecar").glob(pattern))
    assert found, "it was renamed: say so here"
    wrong = []
    for path in found:
        name = path.relative_to(ROOT).as_posix()
        tree = TREES[name]
        wrong += [
            (name, line, module) for module, line in imports(everywhere(tree)) if module.split(".")[0] in IMPURE_MODULES
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                if isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
                    wrong.append((name, node.lineno, node.func.id))
                elif isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_METHODS:
                    wrong.append((name, node.lineno, node.func.attr))
    assert wrong == []


@pytest.mark.parametrize("name", FILES)
def test_files_and_functions_are_short(name: str):
    assert len(FILES[name].read_text().splitlines()) <= 330, "divide it"
    functions = (node for node in ast.walk(TREES[name]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {function: length for function, length in lengths.items() if length > 60} == {}


@pytest.mark.parametrize("name", FILES)
def test_whoever_catches_everything_says_why(name: str):
    lines = FILES[name].read_text().splitlines()
    broad = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ExceptHandler):
            caught = "BaseException" if node.type is None else ast.unparse(node.type)
            raises = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
            wide = re.search(r"\b(Base)?Exception\b", caught) is not None
            if wide and not raises and not re.search(r"# (noqa: \w+ - )?(?!noqa)\w+", lines[node.lineno - 1]):
                broad.append(node.lineno)
    assert broad == []
