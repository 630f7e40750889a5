"""Check the rules of the package layout: direction of imports, purity, names, sizes and the language of docstrings."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.support.rows import for_each

ROOT = Path(__file__).parents[1]
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "sidecar").rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}
DEMO = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "demo").rglob("*.py"))}
WORDED = FILES | DEMO
"""Files whose texts are checked."""
PACKAGES = sorted({Path(name).parent.as_posix() for name in FILES} - {"sidecar"})

# A package imports from the levels before its own, never from its own level or a later one.
LEVELS = (
    ("approval", "errors", "model", "outcome", "terms", "vocabulary", "window_rules", "bulk_strings"),
    ("config", "protocol", "observe", "system"),
    ("ledger",),
    ("policy", "identity", "store"),
    ("management",),  # below the proxy, which answers some tools by these operations
    ("workbench", "proxy"),
    ("mcp_client", "doctor", "account_page", "admin_api"),
    ("runtime",),
    ("trial",),
    ("cli",),
    ("__main__",),
)
LEVEL = {package: number for number, level in enumerate(LEVELS) for package in level}
VOCABULARY = LEVELS[0]
"""Modules, not packages: they may import each other."""

PURE = (
    "config/documents",
    "config/settings",
    "protocol",
    "doctor/rules",
    "ledger",
    "policy",
    "identity/audience.py",
    "identity/claim_path.py",
    "identity/claims.py",
    "identity/issuer_json.py",
    "identity/token_kind.py",
    "identity/token_scopes.py",
    "observe/redact.py",
)
IMPURE_MODULES = {"aiohttp", "redis", "asyncio", "os", "time", "logging"}
# A path is a value; these read or write files, or look at a clock.
IMPURE_CALLS = {"open", "input", "print"}
IMPURE_METHODS = {
    *("read_text", "read_bytes", "write_text", "write_bytes", "open", "exists", "is_file", "is_dir", "iterdir", "glob"),
    *("now", "utcnow", "today"),
}

MAX_FILES = 12
MAX_LINES = 350
MAX_FUNCTION = 40
MAX_SHARE = 0.20
"""The largest part of all lines that one package may have."""

QUESTION_WORDS = {"what", "who", "whose", "whom", "whether", "where", "how", "which", "why", "when"}
BANNED_WORDS = {"told", "nobody", "somebody", "whoever", "whomever", "anew", "beside"}


def module_of(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_of(name): name for name in FILES}


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every module of the sidecar or of a library that a file imports, also inside functions, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in MODULES else node.module or ""), node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((str(each.value), node.lineno) for each in node.args if isinstance(each, ast.Constant))


def package(name: str) -> str:
    """The top-level package, or module, that a file or a module belongs to."""
    parts = name.removesuffix(".py").replace("/", ".").split(".")
    return parts[1] if len(parts) > 1 else ""


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The circles of a graph: its strongly connected parts of more than one node (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def test_every_package_has_its_level():
    assert {package(name) for name in FILES} - {"__init__"} == set(LEVEL)


@for_each([name for name in FILES if name != "sidecar/__init__.py"])
def test_imports_go_down(name: str):
    own = package(name)
    wrong = []
    for module, line in imports(TREES[name]):
        used = package(module)
        if not module.startswith("sidecar.") or used == own or used not in LEVEL:
            continue
        if LEVEL[used] > LEVEL[own] or (LEVEL[used] == LEVEL[own] and own not in VOCABULARY):
            wrong.append((module, line))
    assert wrong == []


def test_modules_form_no_circle():
    edges = {module_of(name): {used for used, _ in imports(tree) if used in MODULES} for name, tree in TREES.items()}
    assert circles(edges) == []


def test_folders_of_a_package_form_no_circle():
    edges: defaultdict[str, set[str]] = defaultdict(set)
    for name, tree in TREES.items():
        own = Path(name).parent.as_posix()
        for used, _ in imports(tree):
            if used in MODULES:
                other = Path(MODULES[used]).parent.as_posix()
                # The files at the root of a package use its folders and are used by them.
                if other != own and own.count("/") > 1 and other.count("/") > 1:
                    edges[own].add(other)
    assert circles(edges) == []


def pure_files() -> list[str]:
    return [
        name for name in FILES if any(name == f"sidecar/{pure}" or name.startswith(f"sidecar/{pure}/") for pure in PURE)
    ]


@for_each(PURE)
def test_pure_places_exist(pure: str):
    assert (ROOT / "sidecar" / pure).exists(), "it was renamed: change the list"


@for_each(pure_files())
def test_pure_files_touch_nothing(name: str):
    tree = TREES[name]
    wrong = [(line, module) for module, line in imports(tree) if module.split(".")[0] in IMPURE_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
                wrong.append((node.lineno, node.func.id))
            elif isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_METHODS:
                wrong.append((node.lineno, node.func.attr))
    assert wrong == []


# These wait for a name server, or for a thread of the pool that all share and the process's end waits for.
SHARED_POOL = {"to_thread", "run_in_executor", "getaddrinfo", "open_connection", "start_server", "create_server"}


@for_each([name for name in FILES if package(name) not in ("system", "cli", "trial")])
def test_names_are_looked_up_and_files_are_read_in_lanes(name: str):
    """`create_connection` takes a socket that is connected; with a host it would ask libuv's pool."""
    wrong = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = {keyword.arg for keyword in node.keywords}
            called = node.func.attr
            connects = called in ("create_connection", "create_unix_connection") and "sock" not in given
            literal = called == "getaddrinfo" and "flags" in given
            if connects or (called in SHARED_POOL and not literal):
                wrong.append((node.lineno, called))
    assert wrong == []


def is_command(name: str) -> bool:
    """A module of a command is named after it, as a reload's is."""
    functions = {node.name for node in TREES[name].body if isinstance(node, ast.FunctionDef)}
    return name.startswith("sidecar/cli/") and "add" in functions


def test_file_names_are_used_once():
    names = Counter(Path(name).name for name in FILES if not is_command(name))
    assert [name for name, count in names.items() if count > 1 and name != "__init__.py"] == []


def test_public_class_names_are_used_once():
    names = Counter(node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1 and not name.startswith("_")] == []


@for_each([folder for folder in PACKAGES if folder != "sidecar/cli"])
def test_folders_are_small(folder: str):
    assert (
        len([name for name in FILES if Path(name).parent.as_posix() == folder and not name.endswith("__init__.py")])
        <= MAX_FILES
    )


@for_each([*PACKAGES, "demo"])
def test_packages_say_what_they_are(folder: str):
    docstring = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text()))
    assert docstring, "the question that it answers, its vocabulary, where to start reading, what it may import"
    assert len(docstring.splitlines()) <= 20


def test_no_package_holds_everything():
    lines = Counter[str]()
    for name, path in FILES.items():
        lines[package(name)] += len(path.read_text().splitlines())
    whole = lines.total()
    assert {name: count for name, count in lines.items() if count > MAX_SHARE * whole} == {}


@for_each(FILES)
def test_files_and_functions_are_short(name: str):
    assert len(FILES[name].read_text().splitlines()) <= MAX_LINES, "divide it"
    functions = (node for node in ast.walk(TREES[name]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {function: length for function, length in lengths.items() if length > MAX_FUNCTION} == {}


@for_each(FILES)
def test_broad_excepts_give_a_reason(name: str):
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


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every docstring of a file with its line, those of values included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()


@for_each(WORDED)
def test_docstrings_begin_with_a_verb_or_a_noun(name: str):
    tree = ast.parse(WORDED[name].read_text())
    firsts = [(line, text.split()[0].strip(",.:;`").lower()) for line, text in docstrings(tree)]
    assert [(line, word) for line, word in firsts if word in QUESTION_WORDS] == []


@for_each(WORDED)
def test_banned_words_do_not_come_back(name: str):
    text = WORDED[name].read_text()
    found = [
        (number, word)
        for number, line in enumerate(text.splitlines(), 1)
        for word in re.findall(r"[a-z]+", line.lower())
        if word in BANNED_WORDS
    ]
    assert found == []
