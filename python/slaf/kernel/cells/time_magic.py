"""`%%time` and `%time` of code that awaits. IPython's magic runs the code inside a
function, where nothing can be awaited. Here the code becomes part of the cell, with
a `with` block around it that prints the times."""

from __future__ import annotations

import ast
import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from IPython.core.magics.execution import _format_time
from IPython.utils.timing import clock2

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: The context manager, as the code of a cell can reach it without a new name.
_TIMER = "get_ipython().timer"


def inline_timed_code(shell: InteractiveShell, cell: str) -> tuple[str, ast.NodeTransformer | None]:
    """Replaces `%time` and `%%time` by the code that they time, if that awaits.

    In `cell`, magics are calls already. Returns the new cell, and the transformer that
    puts timers around the code; or the same cell and `None` if there is nothing to
    replace.
    """
    if "'time'" not in cell:
        return cell, None
    try:
        body = ast.parse(cell).body
    except (SyntaxError, ValueError):
        return cell, None
    first = _of_magic(body[0], "run_cell_magic") if len(body) == 1 else None
    if first is not None and not first[0].strip():
        inner = shell.transform_cell(first[1])
        # An empty line in place of the magic's keeps the line numbers of errors.
        return (f"\n{inner}", _AddTimers(None)) if _awaits(inner) else (cell, None)
    lines, marked = cell.split("\n"), set()
    for statement in body:
        arguments = _of_magic(statement, "run_line_magic")
        inner = shell.transform_cell(arguments[0]).rstrip("\n") if arguments else ""
        if not arguments or statement.lineno != statement.end_lineno or not _awaits(inner):
            continue
        if isinstance(statement, ast.Assign):
            inner = f"{ast.unparse(statement.targets[0])} = ({inner})"
        lines[statement.lineno - 1] = inner
        marked.add(statement.lineno)
    return ("\n".join(lines), _AddTimers(marked)) if marked else (cell, None)


def _of_magic(statement: ast.stmt, method: str) -> list[str] | None:
    """The arguments after `'time'` if `statement` is `get_ipython().METHOD('time', …)`
    or assigns that to one name; otherwise `None`."""
    if isinstance(statement, ast.Assign):
        if len(statement.targets) > 1 or not isinstance(statement.targets[0], ast.Name):
            return None
    elif not isinstance(statement, ast.Expr):
        return None
    call = statement.value
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
        return None
    values = [a.value for a in call.args if isinstance(a, ast.Constant)]
    is_time = values[:1] == ["time"] and len(values) == len(call.args)
    return values[1:] if is_time and call.func.attr == method else None


def _awaits(code: str) -> bool:
    """Whether it compiles only with top-level await."""
    return not _compiles(code, 0) and _compiles(code, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def _compiles(code: str, flags: int) -> bool:
    try:
        compile(code, "", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


class _AddTimers(ast.NodeTransformer):
    """Puts timers around the statements in `lines`, or around the whole cell."""

    def __init__(self, lines: set[int] | None):
        self._lines = lines

    def visit_Module(self, module: ast.Module) -> ast.Module:
        # Only once: magics in the cell transform the code that they run with this, too.
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
            # The value is shown after the times.
            keep: Any = ast.parse(f"{_TIMER}.keep()").body[0]
            keep.value.args = [last.value]
            shown = [ast.copy_location(ast.parse(f"{_TIMER}.kept()").body[0], last)]
            statements = [*statements[:-1], ast.copy_location(keep, last)]
        block: Any = ast.parse(f"with {_TIMER}: pass").body[0]
        block.body = statements
        return [ast.copy_location(block, statements[0]), *shown]


class Timer:
    """Prints how long a `with` block took, as IPython's `%time` does."""

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
        """Stores the value of the block."""
        self._value = value

    def kept(self) -> Any:
        """The stored value, once."""
        value, self._value = self._value, None
        return value


@contextlib.contextmanager
def transformed_by(
    shell: InteractiveShell, transformer: ast.NodeTransformer | None
) -> Iterator[None]:
    """Inside, the shell transforms code with `transformer`, too."""
    if transformer is None:
        yield
        return
    shell.ast_transformers.append(transformer)
    try:
        yield
    finally:
        if transformer in shell.ast_transformers:
            shell.ast_transformers.remove(transformer)
