"""slafdb's public names, signatures and defaults, compared with ours: code that
was written for it runs unchanged. Read from slafdb's own source, installed in
its environment (`SLAFDB_PYTHON`)."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
from pathlib import Path

import pytest

#: The modules that we stand in for.
MODULES = [
    "core.fragment_processor",
    "core.query_optimizer",
    "core.slaf",
    "core.sparse_ops",
    "core.tabular_schema",
    "data.chunked_reader",
    "data.converter",
    "data.utils",
    "integrations.anndata",
    "integrations.scanpy",
    "ml.dataloaders",
]


def source_of(module: str) -> ast.Module:
    where = "import importlib.util as u; print(u.find_spec('slaf').submodule_search_locations[0])"
    done = subprocess.run(
        [os.environ["SLAFDB_PYTHON"], "-c", where], capture_output=True, text=True, check=True
    )
    path = Path(done.stdout.strip()) / f"{module.replace('.', '/')}.py"
    return ast.parse(path.read_text())


def public(nodes) -> dict[str, ast.AST]:
    kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    return {n.name: n for n in nodes if isinstance(n, kinds) and not n.name.startswith("_")}


def is_property(function: ast.FunctionDef) -> bool:
    names = [d.id for d in function.decorator_list if isinstance(d, ast.Name)]
    return "property" in names or "cached_property" in names


def parameters(function: ast.FunctionDef, bound: bool) -> list[tuple[str, str | None]]:
    """Names, and defaults as they are written."""
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    found = list(zip(plain, defaults, strict=True))
    found += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    static = any(
        isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list
    )
    if bound and not static:
        found = found[1:]
    return [(a.arg, None if d is None else ast.unparse(d)) for a, d in found]


def compare(name: str, function: ast.FunctionDef, ours, bound: bool) -> list[str]:
    wanted = parameters(function, bound)
    try:
        signature = inspect.signature(ours)
    except (TypeError, ValueError):
        return [f"{name}: no signature"]
    got = dict(signature.parameters)
    got.pop("self", None)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in got.values())
    wrong = []
    order = [p for p in got if p in dict(wanted)]
    if order != [p for p, _ in wanted if p in got]:
        wrong.append(f"{name}: the parameters are in the order {order}")
    for parameter, default in wanted:
        if parameter not in got:
            if not takes_all:
                wrong.append(f"{name}: there is no parameter {parameter}")
            continue
        ours_default = got[parameter].default
        if default is None:
            continue
        if ours_default is inspect.Parameter.empty:
            wrong.append(f"{name}: {parameter} has no default")
        elif default in ("np.inf", "float('inf')"):
            wrong += [] if ours_default == float("inf") else [f"{name}: {parameter}"]
        elif isinstance(theirs := ast.parse(default, mode="eval").body, ast.Constant):
            if ours_default != theirs.value:
                wrong.append(f"{name}: {parameter} is {ours_default!r}, theirs {default}")
    for parameter, found in got.items():
        needed = found.default is found.empty and found.kind in (
            found.POSITIONAL_OR_KEYWORD,
            found.KEYWORD_ONLY,
        )
        if needed and parameter not in dict(wanted):
            wrong.append(f"{name}: {parameter} must be given")
    return wrong


@pytest.mark.parametrize("module", MODULES)
def test_a_module_stands_in_for_slafdbs(module):
    ours = importlib.import_module(f"slaf.{module}")
    wrong = []
    for name, node in public(source_of(module).body).items():
        found = getattr(ours, name, None)
        if found is None:
            wrong.append(f"{name} is missing")
        elif isinstance(node, ast.FunctionDef):
            wrong += compare(name, node, found, bound=False)
        else:
            wrong += compare_class(name, node, found)
    assert not wrong, "\n".join(wrong)


def compare_class(name: str, node: ast.ClassDef, ours) -> list[str]:
    wrong = []
    methods = public(node.body)
    begin = next((n for n in node.body if getattr(n, "name", "") == "__init__"), None)
    if begin is not None:
        wrong += compare(name, begin, ours, bound=True)
    for method, definition in methods.items():
        if not isinstance(definition, ast.FunctionDef):
            continue
        label = f"{name}.{method}"
        found = inspect.getattr_static(ours, method, None)
        if found is None:
            wrong.append(f"{label} is missing")
            continue
        if is_property(definition):
            if callable(found) and not isinstance(found, type):
                wrong.append(f"{label} is a property")
            continue
        wrong += compare(label, definition, getattr(ours, method), bound=True)
    return wrong


def test_lazy_import_helpers():
    import slaf
    from slaf.integrations.anndata import LazyAnnData, LazyExpressionMatrix
    from slaf.integrations.scanpy import pp

    assert slaf.get_integrations() == (LazyAnnData, LazyExpressionMatrix, pp)
    assert slaf.get_converter() is importlib.import_module("slaf.data").SLAFConverter
