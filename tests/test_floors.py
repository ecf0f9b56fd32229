"""The package's floors: imports point down, and no two files import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import slaf

ROOT = Path(slaf.__file__).parent

#: From the ground up; `_slaf`, the extension, is below all.
FLOORS = [
    {"ground"},
    {"dataset"},
    {"lazy", "sql"},
    {"pp", "tl", "pl", "get", "ml", "data", "distributed"},
    {"notebook", "rust_cells", "kernel", "explorer", "table_view"},
    {"array", "handle", "datasets", "scanpy", "core", "integrations", "ray", "cli", ""},
]
FLOOR = {module: number for number, modules in enumerate(FLOORS) for module in modules}

#: Underscore attributes of other libraries' classes, without which it does not work.
FOREIGN = {
    "_exit",  # os: at once, whatever other threads do
    "_df",  # polars: whether a frame's columns share buffers
    "_getframe",
    "_instance",  # traitlets: the shell of the process
    "_last_traceback",  # IPython's display hook takes it away
    "_last_traceback_during_displayhook",
    "_mgr",  # pandas
    "_parent_header",
    "_publish_debug_event",
    "_put_message",
    "_replace",  # a namedtuple's
}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("slaf", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """Modules of ours that `name` imports anywhere, for types and in functions too."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join([*base, node.module or ""]).strip(".") if node.level else node.module
            for alias in node.names:
                full = f"{source}.{alias.name}"
                found.add(full if full in MODULES or full == "slaf._slaf" else source)
    return {module for module in found if module in MODULES and module != name}


GRAPH = {name: imports(name) for name in MODULES}


def floor(name: str) -> int:
    return FLOOR[(name.split(".") + [""])[1]]


def circles() -> list[list[str]]:
    """Modules that reach each other (Tarjan)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        path.append(name)
        for other in GRAPH[name]:
            if other not in number:
                visit(other)
            if other in path:
                low[name] = min(low[name], low[other])
        if low[name] == number[name]:
            circle = path[path.index(name) :]
            del path[path.index(name) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for name in GRAPH:
        if name not in number:
            visit(name)
    return found


def test_every_module_has_a_floor():
    modules = {(name.split(".") + [""])[1] for name in MODULES}
    assert modules <= FLOOR.keys(), "Say in FLOORS where the new ones are."


def test_arrows_point_down():
    up = [
        f"{name} -> {other}"
        for name, others in GRAPH.items()
        for other in others
        if floor(other) > floor(name)
    ]
    assert not up


def test_no_two_files_import_each_other():
    assert not circles()


def test_nobody_uses_the_underscores_of_another_file():
    used = []
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text())
        own = _defined(tree) | FOREIGN
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or _is_self(node.value):
                continue
            # IPython's `_repr_html_` and the like are for all.
            hidden = node.attr.startswith("_") and not node.attr.endswith("_")
            if hidden and node.attr not in own:
                used.append(f"{name}:{node.lineno} {node.attr}")
    assert not used


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _defined(tree: ast.Module) -> set[str]:
    """Names that a file defines or sets on `self`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and _is_self(node.value):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def test_the_test_sees_circles_and_arrows():
    """Of a circle and an arrow up that are put in, it finds both."""
    GRAPH["slaf.ground.axes"].add("slaf.array")
    try:
        assert any("slaf.array" in circle for circle in circles())
        assert floor("slaf.array") > floor("slaf.ground.axes")
    finally:
        GRAPH["slaf.ground.axes"].discard("slaf.array")
