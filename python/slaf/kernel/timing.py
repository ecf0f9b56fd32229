"""`%%time` and `%time` of code that awaits. IPython's magic runs its code inside
a call, where nothing can be awaited; here the code is the cell's own, and the
clocks are put around it."""

from __future__ import annotations

import ast
import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import Any

from IPython.core.magics.execution import _format_time
from IPython.utils.timing import clock2

#: What the code of a cell calls; it is in no one's way there.
_CLOCKS = "get_ipython().clocks"


def timed(shell: Any, cell: str) -> tuple[str, ast.NodeTransformer | None]:
    """A cell whose magics are calls already, with the code that `%time` is to
    await in their places, and what puts clocks around it; else the cell as it is."""
    if "'time'" not in cell:
        return cell, None
    try:
        body = ast.parse(cell).body
    except (SyntaxError, ValueError):
        return cell, None
    first = _of_magic(body[0], "run_cell_magic") if len(body) == 1 else None
    if first is not None and not first[0].strip():
        inner = shell.transform_cell(first[1])
        # The line of the magic is empty, so that errors point where they should.
        return (f"\n{inner}", _Clocks(None)) if _awaits(inner) else (cell, None)
    lines, marked = cell.split("\n"), set()
    for statement in body:
        said = _of_magic(statement, "run_line_magic")
        inner = shell.transform_cell(said[0]).rstrip("\n") if said else ""
        if not said or statement.lineno != statement.end_lineno or not _awaits(inner):
            continue
        name = f"{statement.targets[0].id} = " if isinstance(statement, ast.Assign) else ""
        lines[statement.lineno - 1] = f"{name}({inner})" if name else inner
        marked.add(statement.lineno)
    return ("\n".join(lines), _Clocks(marked)) if marked else (cell, None)


def _of_magic(statement: ast.stmt, method: str) -> list[str] | None:
    """What follows `'time'` in `get_ipython().METHOD('time', …)`, alone or given
    to one name."""
    if isinstance(statement, ast.Assign):
        if len(statement.targets) > 1 or not isinstance(statement.targets[0], ast.Name):
            return None
    elif not isinstance(statement, ast.Expr):
        return None
    call = statement.value
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
        return None
    said = [a.value for a in call.args if isinstance(a, ast.Constant)]
    is_magic = call.func.attr == method and said[:1] == ["time"] and len(said) == len(call.args)
    return said[1:] if is_magic else None


def _awaits(code: str) -> bool:
    """Whether it runs only where one can await."""
    return not _compiles(code, 0) and _compiles(code, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def _compiles(code: str, flags: int) -> bool:
    try:
        compile(code, "", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


class _Clocks(ast.NodeTransformer):
    """Puts clocks around the statements in some lines, or around all."""

    def __init__(self, lines: set[int] | None):
        self._lines = lines

    def visit_Module(self, module: ast.Module) -> ast.Module:
        # Magics within the cell transform the code that they run, too.
        lines, self._lines = self._lines, set()
        if lines is None:
            module.body = self._around(module.body)
        elif lines:
            groups = itertools.groupby(module.body, key=lambda statement: statement.lineno)
            found = [(line in lines, [*statements]) for line, statements in groups]
            module.body = [
                s for timed, part in found for s in (self._around(part) if timed else part)
            ]
        return ast.fix_missing_locations(module)

    def _around(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        last = statements[-1]
        shown: list[ast.stmt] = []
        if isinstance(last, ast.Expr):
            # Its value is shown after the times.
            keep = ast.parse(f"{_CLOCKS}.keep()").body[0]
            keep.value.args = [last.value]
            shown = [ast.copy_location(ast.parse(f"{_CLOCKS}.kept()").body[0], last)]
            statements = [*statements[:-1], ast.copy_location(keep, last)]
        block = ast.parse(f"with {_CLOCKS}: pass").body[0]
        block.body = statements
        return [ast.copy_location(block, statements[0]), *shown]


class Clocks:
    """Prints how long what it surrounds took, as IPython's `%time` does."""

    def __init__(self):
        self._begun: list[tuple[float, tuple[float, float]]] = []
        self._value: Any = None

    def __enter__(self) -> None:
        self._value = None
        self._begun.append((time.time(), clock2()))

    def __exit__(self, *_: object) -> None:
        ended, (user, system) = time.time(), clock2()
        begun, (user_before, system_before) = self._begun.pop()
        user, system = user - user_before, system - system_before
        print(
            f"CPU times: user {_format_time(user)}, sys: {_format_time(system)}, "
            f"total: {_format_time(user + system)}\nWall time: {_format_time(ended - begun)}"
        )

    def keep(self, value: Any) -> None:
        self._value = value

    def kept(self) -> Any:
        value, self._value = self._value, None
        return value


@contextlib.contextmanager
def with_clocks(shell: Any, clocks: ast.NodeTransformer | None) -> Iterator[None]:
    """The next cell's code is run with `clocks`."""
    if clocks is None:
        yield
        return
    shell.ast_transformers.append(clocks)
    try:
        yield
    finally:
        if clocks in shell.ast_transformers:
            shell.ast_transformers.remove(clocks)
