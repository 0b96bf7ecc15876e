"""The house: what each module may know, how it is built, and what a save may cost.

Tables named ``…_STILL`` hold what breaks a rule yet; they may only become shorter. So may the numbers in ``BUDGET``.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

PACKAGE = Path(__file__).parents[1] / "resumable"
LONGEST = 500
MEDIAN_LINES = 6
"""So many lines has the function in the middle, its signature and docstring included."""
SHORTEST = 60
"""A shorter file is worth opening only if several others import it."""
SEVERAL = 3
SHORT_STILL: set[str] = set()

BUDGET = {
    # At most so many calls, in so many files.
    "save, state": (86, 12),
    "save, mapping": (101, 17),
    "idle tick, state": (1, 1),
    "idle tick, mapping": (1, 1),
    "opening, state": (96, 20),
    "opening, mapping": (157, 26),
}
"""Counted by ``python -m tests.support.budget``; with ``-v`` it lists the calls."""

FLOORS = (
    # Imports go down only; rooms on one floor do not know each other.
    "",
    "__main__",
    "cli",
    "pytest_plugin",
    "testing",
    "_api",
    "_engine",
    "_report",
    "_format",
    "_durable",
    "_loops",
    "stores",
    "ratelimit",
    "_retry",
    "_strategies _json",
    "_runtime",
    "_models",
    "_errors",
    "_text",
)
FLOOR_OF = {room: number for number, rooms in enumerate(reversed(FLOORS)) for room in (rooms.split() or [""])}
INNER_ROOMS: dict[str, set[str]] = {
    "_loops.inputs": set(),
    "_loops.ledgers": {"_loops.inputs"},
    "_loops.places": set(),
    "_report.terminal": {"_report"},
    "_report.stored": {"_report"},
    "_report.pages": {"_report", "_report.stored"},
}
"""What rooms inside a room may know of it."""
GROUND_FLOOR = 20
"""So many names may stand in the package's own folder."""

PURE = (
    *("_errors", "_json", "_models", "_strategies", "_engine.session", "_text.secrets", "_text.words"),
    *("_durable.changes", "_durable.frozen", "_report.terminal.forecast", "_report.messages"),
    *(
        "_format.document",
        "_format.journal",
        "_format.migrations",
        "_format.sections",
        "_format.trail",
        "_format.typed",
    ),
    *(
        "_loops.inputs.fingerprint",
        "_loops.inputs.sources",
        "_loops.ledgers.by_key",
        "_loops.ledgers.by_page",
        "_loops.ledgers.by_position",
        "_loops.ledgers.out_of_order",
        "_loops.places.place",
    ),
    *("_loops.sites", "_loops.view"),
    *("ratelimit._bodies", "ratelimit._budget", "ratelimit._headers", "ratelimit._limits", "ratelimit._meter"),
    *("ratelimit._refusals", "ratelimit._response", "ratelimit._values"),
)
"""No clock, file, network or thread."""
SIDE_DOORS: dict[str, list[str]] = {
    "_api.checkpointed": ["stores._names"],
    "_api.manager": ["stores._names"],
    "_engine.quota": ["ratelimit._meter"],
    "_format.files": ["stores._names"],
    "_loops.map.calls": ["ratelimit._response"],
    "cli._options": ["stores._encrypted"],
}
"""Who still enters a room by a private module; this may only become less."""
CODE_IN_FACE = {"cli": "main"}
"""It tells what to install where click is missing, so it stands before what needs click."""

NO_TEST_OF_ITS_NAME_STILL: dict[str, str] = {}
"""Modules whose tests lie in files of other names, by their rooms. No module may join them."""

FOREIGN = {
    # Where others offer no public name for what is needed.
    "_loops.places.place": {"sys._getframe"},
    "_loops.running": {"asyncio._get_running_loop"},  # what asyncio itself asks: the public one raises, in 1 us
    "_loops.map.clusters": {"executor._client", "executor._kwargs"},  # distributed's ClientExecutor
    "_loops.map.executors": {
        f"executor.{name}" for name in ("_initializer", "_initargs", "_spawn_process")
    },  # of a pool
    "_runtime.interpreter": {"asyncio._get_running_loop", "lock._is_owned", "sys._getframe"},
}
"""Private names of other libraries. ``os._exit`` is none: it has no other name."""
TRICKS = {"ctypes", "gc", "faulthandler", "_thread"}
TRICKY_NAMES = re.compile(
    r"sys\.(_\w+|getrefcount|[gs]et(profile|trace|switchinterval)|setrecursionlimit|monitoring)"
    r"|\w+\.(_is_owned|f_back|f_locals|f_globals|f_lasti|tb_frame)"
)
"""What is true of an interpreter, not of Python."""

IMPURE = frozenset(
    {"asyncio", "fcntl", "http", "io", "multiprocessing", "select", "shutil", "signal", "socket", "ssl", "subprocess"}
    | {"tempfile", "threading", "time", "urllib.request"}
)
"""It quotes as ``subprocess`` does, and starts nothing."""
PURE_OS = {"PathLike", "fspath", "name", "path", "sep"}
WHO_KNOWS = {
    "cryptography": {"stores._sealing"},
    "filelock": {"stores._lock"},
    "gc": {"_runtime.interpreter"},
    "sqlalchemy": {"stores._sql", "stores._sql_dialect"},
    "wrapt": {"_api.decorator"},
}
"""Packages that are one module's affair."""

EXTRAS = (
    "aiohttp",
    "click",
    "cloudpickle",
    "cryptography",
    "github",
    "githubkit",
    "httpx",
    "opentelemetry",
    "platformdirs",
    "pydantic",
    "pytest",
    "requests",
    "rich",
    "sqlalchemy",
)


def files() -> dict[str, Path]:
    """All modules, by their name below the package; ``""`` is the package itself."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


FILES = files()


@cache
def imports_of(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """What *module* imports anywhere in it, except for type checkers: modules of ours, and names of others."""
    ours, others = set(), set()
    for node in _walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        else:
            base = _absolute(module, node)
            names = [(base, alias.name) for alias in node.names]
        for base, name in names:
            top, _, inside = base.partition(".")
            if top != PACKAGE.name:
                others |= {top, base}
            else:
                below = f"{inside}.{name}".strip(".")
                ours.add(below if below in FILES else inside)
    return frozenset(ours - {module}), frozenset(others)


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text())


def _walk(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield from _walk(other)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        else:
            yield from _walk(node)


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = FILES[module].name == "__init__.py"
    package = [PACKAGE.name, *module.split(".")] if module else [PACKAGE.name]
    base = package[: len(package) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


modules = pytest.mark.parametrize("module", FILES, ids=lambda name: name or "resumable")


# -- rooms ------------------------------------------------------------------------------------------------------------


def room_of(module: str) -> str:
    return module.partition(".")[0]


@modules
def test_every_module_has_its_room(module: str) -> None:
    assert room_of(module) in FLOOR_OF, f"give {room_of(module)} a floor in FLOORS"


def test_no_floor_names_a_room_that_is_gone() -> None:
    assert FLOOR_OF.keys() - {room_of(module) for module in FILES} == set()


@modules
def test_imports_only_go_down(module: str) -> None:
    room = room_of(module)

    up = {name for name in imports_of(module)[0] if room_of(name) != room and FLOOR_OF[room_of(name)] >= FLOOR_OF[room]}

    assert up == set()


@pytest.mark.parametrize("room", INNER_ROOMS)
def test_inner_rooms_know_only_those_below_them(room: str) -> None:
    inside = {name for module in FILES if module.startswith(f"{room}.") for name in imports_of(module)[0]}
    outer = room_of(room)

    assert {name.rpartition(".")[0] for name in inside if room_of(name) == outer} - {room} <= INNER_ROOMS[room]


def test_imports_go_in_no_circle() -> None:
    order = TopologicalSorter({module: imports_of(module)[0] for module in FILES})

    assert set(order.static_order()) == FILES.keys()


def test_the_ground_floor_is_seen_at_a_glance() -> None:
    names = [path.name for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "py.typed")]

    assert len(names) <= GROUND_FLOOR


@modules
def test_a_room_is_entered_by_its_face_or_by_a_public_module(module: str) -> None:
    inside = [
        name
        for name in imports_of(module)[0]
        if room_of(name) != room_of(module) and name.rpartition(".")[2].startswith("_") and "." in name
    ]

    assert sorted(inside) == sorted(SIDE_DOORS.get(module, []))


def _is_face(module: str) -> bool:
    return bool(module) and FILES[module].name == "__init__.py"


faces = pytest.mark.parametrize("room", [name for name in FILES if _is_face(name)])


@faces
def test_a_face_is_a_docstring_and_names(room: str) -> None:
    """Imports, those for type checkers, those on demand, and a sorted ``__all__``; nothing else."""
    _, *statements = tree_of(room).body
    kinds = {_kind(statement) for statement in statements} - {CODE_IN_FACE.get(room, "")}

    assert kinds <= {"import", "names on demand", "__all__", "constant"}
    (names,) = (ast.literal_eval(s.value) for s in statements if isinstance(s, ast.Assign) and _kind(s) == "__all__")
    assert list(names) == sorted(set(names))
    module = importlib.import_module(f"{PACKAGE.name}.{room}")
    assert [name for name in names if f"{room}.{name}" not in FILES and not hasattr(module, name)] == []


def _kind(statement: ast.stmt) -> str:
    """What a statement of a face is for."""
    match statement:
        case ast.Import() | ast.ImportFrom():
            return "import"
        case ast.If(test=ast.Name("TYPE_CHECKING")) | ast.FunctionDef(name="__getattr__" | "__dir__"):
            return "names on demand"
        case ast.FunctionDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name("__all__")]):
            return "__all__"
        case ast.Assign(targets=[ast.Name()]):
            return "constant"
    return ast.unparse(statement)


@faces
def test_a_face_leads_through_its_room(room: str) -> None:
    """It says what the room is for, and names each module that others may enter."""
    told = ast.get_docstring(tree_of(room)) or ""
    inside = {name.rpartition(".")[2] for name in FILES if name.rpartition(".")[0] == room}

    missing = {name for name in inside if not name.startswith("_") and f"``{name}``" not in told}
    assert missing == set()
    assert len(told.splitlines()) >= 3


@modules
def test_nobody_touches_anothers_private_names(module: str) -> None:
    touched = {
        ast.unparse(node)
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute) and re.match("_(?!_)", node.attr) and not _is_own(node.value)
    }

    assert touched - {"os._exit"} == FOREIGN.get(module, set())


def _is_own(value: ast.expr) -> bool:
    return ast.unparse(value) in ("self", "cls", "super()", "type(self)")


FRAMES = ("_loops.places.place", "_loops.places.spots")
"""What reads from frames where the program stands."""


@pytest.mark.parametrize("module", [name for name in FILES if room_of(name) != "_runtime" and name not in FRAMES])
def test_only_one_room_knows_tricks_of_the_interpreter(module: str) -> None:
    attributes = {ast.unparse(node) for node in ast.walk(tree_of(module)) if isinstance(node, ast.Attribute)}

    assert imports_of(module)[1] & TRICKS == set()
    assert {name for name in attributes if TRICKY_NAMES.fullmatch(name)} == set()


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_know_no_clock_file_network_or_thread(module: str) -> None:
    from_os = {
        node.attr
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os"
    }

    assert imports_of(module)[1] & IMPURE == set()
    assert from_os <= PURE_OS


@pytest.mark.parametrize("package", WHO_KNOWS)
def test_some_packages_are_one_modules_affair(package: str) -> None:
    assert {module for module in FILES if package in imports_of(module)[1]} == WHO_KNOWS[package]


def test_only_the_command_line_knows_click() -> None:
    assert [module for module in FILES if "click" in imports_of(module)[1] and not module.startswith("cli.")] == []


@pytest.mark.parametrize(
    "module", [name for name in FILES if room_of(name) in ("_format", "stores", "_json", "_models")]
)
def test_loading_a_checkpoint_cannot_execute_data(module: str) -> None:
    """There is no pickle to be tricked."""
    assert imports_of(module)[1] & {"dill", "marshal", "pickle", "shelve"} == set()


# -- files ------------------------------------------------------------------------------------------------------------


@modules
def test_a_file_is_read_in_one_sitting(module: str) -> None:
    lines = FILES[module].read_text().count("\n")

    assert lines <= LONGEST


def test_functions_are_read_at_a_glance() -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for module in FILES for node in ast.walk(tree_of(module)) if isinstance(node, kinds)]
    lines = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]

    assert median(lines) <= MEDIAN_LINES


def test_tests_mirror_the_rooms() -> None:
    """A person finds the test of a module by its path."""
    tests = PACKAGE.parent / "tests"
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    beside = {"bench", "examples", "faults", "support", "typing"}

    folders = {path.name for path in tests.iterdir() if any(path.glob("*.py"))}
    assert folders - beside == {room.lstrip("_") for room in rooms}


def test_the_test_of_a_module_has_its_name() -> None:
    """``resumable/_loops/running.py`` is tested by ``tests/loops/test_running.py``."""
    tests = PACKAGE.parent / "tests"
    without = set()
    for module, path in FILES.items():
        *rooms, name = (part.lstrip("_") for part in module.split("."))
        is_long = path.name not in ("__init__.py", "__main__.py") and path.read_text().count("\n") >= SHORTEST
        if is_long and not tests.joinpath(*rooms, f"test_{name}.py").exists():
            without.add(module)

    still = {f"{room}.{name}".strip(".") for room, names in NO_TEST_OF_ITS_NAME_STILL.items() for name in names.split()}
    assert without - still == set()
    assert still - FILES.keys() == set()


def test_a_short_file_has_several_readers() -> None:
    short = {
        module
        for module, path in FILES.items()
        if path.name not in ("__init__.py", "__main__.py") and path.read_text().count("\n") < SHORTEST
    }

    assert {name for name in short if sum(name in imports_of(other)[0] for other in FILES) < SEVERAL} == SHORT_STILL


@modules
def test_every_docstring_stands_alone(module: str) -> None:
    """A tooltip shows it without what stands above it."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    told = [ast.get_docstring(node) or "" for node in ast.walk(tree_of(module)) if isinstance(node, kinds)]

    assert [text for text in told if text.startswith(("The same", "As "))] == []


@modules
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(tree_of(module))


def test_the_package_itself_holds_imports_and_names_only() -> None:
    kinds = [_kind(statement) for statement in tree_of("").body[1:]]

    assert set(kinds) <= {"import", "names on demand", "__all__"}
    assert kinds.count("__all__") == 1


# -- public names -----------------------------------------------------------------------------------------------------

PUBLIC = ["resumable", "resumable.ratelimit", "resumable.stores", "resumable.testing"]


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_sorted_and_true(name: str) -> None:
    module = importlib.import_module(name)

    assert list(module.__all__) == sorted(set(module.__all__))
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_says_what_it_does(name: str) -> None:
    module = importlib.import_module(name)
    public = [getattr(module, public) for public in module.__all__]

    assert [thing for thing in public if callable(thing) and not thing.__doc__] == []


def test_what_is_imported_into_the_package_is_public() -> None:
    now, on_demand = tree_of("").body, next(node for node in tree_of("").body if isinstance(node, ast.If)).body
    imported = {
        alias.asname or alias.name
        for node in (*now, *on_demand)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    } - {"TYPE_CHECKING"}

    assert imported == set(importlib.import_module("resumable").__all__)


# -- what an import costs ---------------------------------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(found.stdout.split())


def test_importing_the_package_loads_no_extra() -> None:
    assert loaded_by("import resumable") & set(EXTRAS) == set()


def test_opening_a_checkpoint_loads_no_extra(tmp_path: Path) -> None:
    use = f"from resumable import checkpointed; cp = checkpointed('a', store={str(tmp_path)!r}).__enter__(); cp.tick()"

    assert loaded_by(use) & set(EXTRAS) == set()


LATER = {"asyncio", "concurrent.futures", "filelock", "http.client", "multiprocessing", "socket", "sqlite3", "ssl"}
LATER |= {"tarfile", "tenacity", "unittest", "urllib.request", "wrapt", "xml"}


def test_importing_the_package_loads_nothing_that_takes_long() -> None:
    assert loaded_by("from resumable import checkpointed, every") & LATER == set()


def test_a_plain_block_loads_nothing_that_takes_long_but_the_lock(tmp_path: Path) -> None:
    block = (
        f"from resumable import checkpointed; cp = checkpointed('a', store={str(tmp_path)!r}).__enter__(); cp.tick()"
    )

    assert loaded_by(block) & LATER == loaded_by("import filelock") & LATER


# -- what a save costs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """Counted in a process of its own, in which no test has changed anything, and which tells others of itself."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.budget"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
        env=os.environ | {"RESUMABLE_INDEX": str(tmp_path_factory.mktemp("index"))},
    )
    found: dict[str, list[int]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("deed", BUDGET)
def test_a_deed_takes_no_more_calls_and_files_than_it_may(deed: str, costs: dict[str, list[int]]) -> None:
    calls, files = costs[deed]
    most_calls, most_files = BUDGET[deed]

    assert calls <= most_calls
    assert files <= most_files


def test_every_deed_that_is_counted_has_a_budget(costs: dict[str, list[int]]) -> None:
    assert costs.keys() == BUDGET.keys()
