"""`%%sql` in any IPython: our kernel, ipykernel, a terminal. `%%rust` is in
`slaf.rust_cells`, `%slaf` in `slaf.notebook.variables`.

    %%sql [options] [name <<]
    SELECT …

Options: `--on HANDLE`, `--engine polars|datafusion`, `--limit ROWS`, `--table` (shows
the result as an interactive table), `--lazy`, `--explain`, `--profile`.

The tables are those of the session's only open dataset; with several open, write
`variable.cells`. A frame is a table under the name of its variable. `{{x}}` and `$x`
insert values of variables. `name <<` assigns the result as a Polars DataFrame that
shares the engine's buffers; with `--lazy`, as a LazyFrame."""

from __future__ import annotations

import importlib
import re
import threading
from collections import ChainMap
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slaf import _slaf, rust_cells
from slaf.ground import completion
from slaf.notebook import tracebacks, variables
from slaf.notebook.datasets import open_datasets

if TYPE_CHECKING:
    from slaf.sql import SqlSession


def load(shell) -> None:
    """Registers the magics, their completion and the displays."""
    sessions = Sessions(shell)
    shell.register_magic_function(_sql_cell(sessions), "line_cell", "sql")
    completion.register(shell, "slaf.sql", lambda text, cursor: _completed(sessions, text, cursor))
    cleanup = shell.input_transformers_cleanup
    cleanup[:] = [t for t in cleanup if getattr(t, "__name__", "") != "_without_comments"]
    cleanup.append(_without_comments)
    shell.configurables[:] = [c for c in shell.configurables if type(c).__name__ != "Slaf"]
    shell.configurables.append(sessions.config)
    shell.slaf_sessions = sessions
    formatter = shell.display_formatter.formatters["text/html"]
    for kind in ("csr", "csc"):
        for name in (f"{kind}_matrix", f"{kind}_array"):
            formatter.for_type_by_name(f"scipy.sparse._{kind}", name, _sparse_html)
    tracebacks.load(shell)
    variables.load(shell, sessions, rust_cells.load(shell))


class Sessions:
    """The only SQL session of a shell."""

    def __init__(self, shell: Any):
        self.shell = shell
        self.config = _config(shell)
        self._session: SqlSession | None = None

    @property
    def session(self) -> SqlSession:
        if self._session is None:
            _import_whole("slaf.sql")
            from slaf.sql import SqlSession

            namespace = self.shell.user_ns
            self._session = SqlSession(namespace, lambda on: open_datasets(namespace, on))
        return self._session

    def within(self, local: dict[str, Any] | None) -> SqlSession:
        """The session as seen from a function with the variables `local`."""
        session, namespace = self.session, self.shell.user_ns
        if local is None or local is namespace:
            return session
        names = _Scope(local, namespace)
        return replace(session, namespace=names, handles=lambda on: open_datasets(names, on))

    @property
    def views(self) -> list[str]:
        """The names of the session's SQL views."""
        return [] if self._session is None else list(self._session.views)

    @property
    def memory(self) -> int | None:
        from slaf.ground.sizes import bytes_of

        return bytes_of(self.config.memory) if self.config.memory else None


def _import_whole(name: str) -> None:
    """Imports numpy, pandas and Polars in a thread. They take a second, and an
    interrupt must not leave a half-imported module behind."""
    thread = threading.Thread(target=importlib.import_module, args=(name,), name="slaf-import")
    thread.start()
    thread.join()


class _Scope(ChainMap):
    """A function's variables, followed by the notebook's, which can be set."""

    def __setitem__(self, name: str, value: Any) -> None:
        self.maps[-1][name] = value

    def __delitem__(self, name: str) -> None:
        del self.maps[-1][name]


def _config(shell: Any) -> Any:
    from traitlets import Unicode
    from traitlets.config import Configurable

    class Slaf(Configurable):
        """Settings of the SQL engine: `%config Slaf.memory = "2 GB"`."""

        memory = Unicode(
            "",
            help="Memory that a statement may take before it spills to disk; empty: a quarter of "
            "the machine's.",
        ).tag(config=True)

    return Slaf(parent=shell)


def _sql_cell(sessions: Sessions):
    from IPython.core.magic import needs_local_scope, no_var_expand

    # `$x` and `{x}` belong to SQL: IPython would insert their text into the statement.
    @no_var_expand
    @needs_local_scope
    def sql(line: str, cell: str | None = None, *, local_ns: dict[str, Any] | None = None):
        """Run SQL over open SLAF datasets and frames.

        %%sql [--on HANDLE] [--engine auto|polars|datafusion] [--limit ROWS]
              [--table] [--lazy] [--explain] [--profile] [name <<]
        SELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain
        """
        from IPython.core.error import UsageError

        try:
            session = sessions.within(local_ns)
            return _run(sessions, session, _slaf.parse_cell(line, cell or ""))
        except (ValueError, NameError, OSError) as error:
            # Shows a message, not the traceback of the magic.
            raise UsageError(str(error)) from None

    return sql


def _run(sessions: Sessions, session: SqlSession, cell: _slaf.SqlCell) -> Any:
    shell = sessions.shell
    if cell.table and (cell.lazy or cell.explain or cell.profile):
        raise ValueError("`--table` goes with `--on`, `--engine` and `--limit`.")
    if cell.lazy:
        if cell.target is None:
            raise ValueError("`--lazy` gives a plan to a variable: `%%sql --lazy name <<`.")
        from slaf.data.lazy_frames import sql_plan

        prepared = session.prepared(cell.sql, cell.on)
        options = {"engine": cell.engine, "memory": sessions.memory}
        shell.user_ns[cell.target] = sql_plan(prepared, **options)
        print(f"{cell.target}: a polars LazyFrame; collect() reads")
        return None
    text = f"EXPLAIN {cell.sql}" if cell.explain else cell.sql
    answer = session.run(
        text, on=cell.on, engine=cell.engine, limit=cell.limit, memory=sessions.memory
    )
    if answer is None:
        return None
    if cell.table:
        return _table(shell, answer, cell)
    if cell.profile:
        read, milliseconds = answer.profile
        rows, _ = answer.shape
        engine, reason = answer.engine
        print(
            f"{rows:,} rows in {milliseconds:,.1f} ms; {read:,} rows of expression read; "
            f"{engine} ({reason})"
        )
    if cell.explain:
        import polars as pl

        html, text = _slaf.draw_plan(pl.DataFrame(answer)["plan"].to_list())
        shell.display_pub.publish({"text/html": html, "text/plain": text})
        return None
    if cell.target is None:
        return answer
    import polars as pl

    shell.user_ns[cell.target] = pl.DataFrame(answer)
    for warning in answer.warnings:
        print(warning)
    rows, columns = answer.shape
    print(f"{cell.target}: {rows:,} rows × {columns} columns")
    return None


def _table(shell: Any, answer: _slaf.Answer, cell: _slaf.SqlCell) -> Any:
    """The result as an interactive table, which `name <<` assigns."""
    from slaf.table_view import table

    statement = _slaf.split_sql(cell.sql)[-1]
    if cell.limit is not None:
        statement = f"SELECT * FROM ({statement}\n) LIMIT {cell.limit}"
    made = table(answer, statement=statement)
    if cell.target is not None:
        shell.user_ns[cell.target] = made
    return made


#: The magic of one of our cells, after any Python comments.
_MAGIC = re.compile(r"(?:\s*#[^\n]*\n)*\s*(%%?sql)(?!\w)")
_COMMENTED = re.compile(r"(?:\s*#[^\n]*\n)+\s*(?=%%(?:sql|rust)\b)")


def _without_comments(lines: list[str]) -> list[str]:
    """A cell of ours without the comments before its magic, because IPython expects the
    magic in the first line."""
    code = "".join(lines)
    found = _COMMENTED.match(code)
    return lines if found is None else code[found.end() :].splitlines(keepends=True)


# Completion and inspection -------------------------------------------------


def sql_of(code: str) -> tuple[int, str] | None:
    """The start of the statement in a `%%sql` cell, and its text."""
    found = _MAGIC.match(code)
    if found is None or (found[1] == "%sql" and "\n" in code[found.start(1) :].rstrip()):
        return None
    return found.end(), code[found.end() :]


def complete(sessions: Sessions, code: str, cursor: int) -> tuple[int, list[tuple[str, str]]]:
    """The position in `code` at which the candidates begin, and each candidate with its
    kind."""
    found = sql_of(code)
    if found is None or cursor < found[0]:
        return cursor, []
    start, sql = found
    place = len(sql[: cursor - start].encode())
    begin, matches = _slaf.complete_sql(sql, place, sessions.session.catalog())
    return start + len(sql.encode()[:begin].decode()), matches


def inspect(sessions: Sessions, code: str, cursor: int) -> str | None:
    """The meaning of the name at `cursor` in the SQL of `code`."""
    found = sql_of(code)
    if found is None or cursor < found[0]:
        return None
    start, sql = found
    place = len(sql[: cursor - start].encode())
    return _slaf.inspect_sql(sql, place, sessions.session.catalog())


def _completed(sessions: Sessions, code: str, cursor: int) -> completion.Candidates | None:
    if sql_of(code) is None:
        return None
    try:
        start, matches = complete(sessions, code, cursor)
    except (ValueError, NameError, OSError):
        start, matches = cursor, []
    return start, cursor, matches


def _sparse_html(matrix: Any) -> str | None:
    from slaf.ground.sparse_display import sparse_display

    return sparse_display(matrix)[0] if matrix.ndim == 2 else None
