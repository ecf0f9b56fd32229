"""`%%sql` in any IPython: our kernel, a plain ipykernel, a terminal.

    %%sql [--on HANDLE] [--engine NAME] [name <<]
    SELECT …

The tables are those of the session's only open dataset; with several open,
`variable.cells`. A frame is a table by its variable's name. `name <<` binds the
answer as a polars DataFrame, whose buffers are the engine's own.
"""

from __future__ import annotations

from typing import Any

from slaf import _slaf


def load(shell) -> None:
    """Registers the magics and the displays."""
    shell.register_magic_function(_sql_cell(shell), "line_cell", "sql")
    formatter = shell.display_formatter.formatters["text/html"]
    for module, name in (("scipy.sparse._csr", "csr_matrix"), ("scipy.sparse._csr", "csr_array")):
        formatter.for_type_by_name(module, name, _csr_html)


def _sql_cell(shell):
    def sql(line: str, cell: str | None = None):
        """Run a SQL statement over open SLAF datasets and frames.

        %%sql [--on HANDLE] [--engine auto|polars|datafusion] [name <<]
        SELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain
        """
        from IPython.core.error import UsageError

        try:
            target, on, engine, statement = _slaf.parse_cell(line, cell or "")
            answer = _ask(shell.user_ns, statement, on, engine)
        except (ValueError, NameError) as error:
            # A message, not the stack of the magic.
            raise UsageError(str(error)) from None
        if target is None:
            return answer
        import polars as pl

        shell.user_ns[target] = pl.DataFrame(answer)
        for warning in answer.warnings:
            print(warning)
        rows, columns = answer.shape
        print(f"{target}: {rows:,} rows × {columns} columns")
        return None

    return sql


def _ask(namespace: dict[str, Any], statement: str, on: str | None, engine: str | None):
    handles, default = _handles(namespace, on)
    taken = {name for name, *_ in handles}
    frames = []
    for name in _slaf.table_names(statement):
        value = namespace.get(name)
        if name not in taken and hasattr(value, "__arrow_c_stream__"):
            frames.append((name, value))
    return _slaf.query(statement, handles, default=default, frames=frames, engine=engine)


def _handles(namespace: dict[str, Any], on: str | None):
    """The open datasets by their variables, and the place of the one whose
    tables need no prefix: the one asked for, or the only one there is."""
    found = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and _is_handle(value)
    }
    if on is not None and on not in found:
        near = _slaf.nearest(on, list(found)) or list(found)
        hint = f" Did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""
        raise NameError(f"There is no open dataset `{on}`.{hint}")
    handles = [(name, *_parts(value)) for name, value in found.items()]
    if on is not None:
        return handles, list(found).index(on)
    # Several variables may hold the same dataset; its slices do not count.
    whole = [i for i, (_, *parts) in enumerate(handles) if _is_whole(*parts)]
    paths = {_path(found[handles[i][0]]) for i in whole}
    if len(paths) == 1:
        return handles, whole[0]
    if not whole and len(handles) == 1:
        return handles, 0
    return handles, None


def _is_handle(value: Any) -> bool:
    return type(value).__name__ in ("SLAFArray", "LazyAnnData") and hasattr(
        getattr(value, "slaf", value), "_dataset"
    )


def _parts(value: Any):
    from slaf._axis import argument

    array = getattr(value, "slaf", value)
    cells, genes = array.shape
    positions = (getattr(value, "_cells", range(cells)), getattr(value, "_genes", range(genes)))
    return (array._dataset, *map(argument, positions))


def _is_whole(dataset, cells, genes) -> bool:
    n_cells, n_genes = dataset.shape
    same = lambda axis, n: isinstance(axis, tuple) and axis == (0, 1, n)  # noqa: E731
    return same(cells, n_cells) and same(genes, n_genes)


def _path(value: Any) -> str:
    import os

    return os.path.realpath(getattr(value, "slaf", value).slaf_path)


def _csr_html(matrix) -> str:
    from slaf import _display

    return _display.csr_html(matrix)
