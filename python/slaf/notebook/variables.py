"""`%slaf vars`: the variables of all languages in one table. Front ends get the same list
through the comm `slaf.vars`, as `{"variables": [...]}`: when it opens, after each cell,
and in reply to any message."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from slaf import _slaf

_TARGET = "slaf.vars"


@dataclass(frozen=True)
class Variable:
    """A description of one variable. `bytes` is the size of its buffers, and `shared`
    how much of that is in memory that Rust cells map."""

    name: str
    type: str
    languages: list[str]
    shape: list[int] | None = None
    bytes: int | None = None
    shared: int | None = None


class Variables(list):
    """Variables as a table."""

    def __repr__(self) -> str:
        rows = [_HEAD, *map(_row, self)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
        lines = (
            "  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)) for row in rows
        )
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        def line(row: list[str], tag: str) -> str:
            cells = (f"<{tag} style='text-align:left'>{escape(text)}</{tag}>" for text in row)
            return f"<tr>{''.join(cells)}</tr>"

        body = "".join(line(_row(variable), "td") for variable in self)
        return f"<table><thead>{line(_HEAD, 'th')}</thead><tbody>{body}</tbody></table>"


_HEAD = ["name", "type", "languages", "shape", "bytes", "shared"]


def _row(variable: Variable) -> list[str]:
    return [
        variable.name,
        variable.type,
        ", ".join(variable.languages),
        "" if variable.shape is None else " × ".join(f"{n:,}" for n in variable.shape),
        "" if variable.bytes is None else f"{variable.bytes:,}",
        _shared(variable),
    ]


def _shared(variable: Variable) -> str:
    if variable.shared is None:
        return ""
    if not variable.shared:
        return "no"
    return "yes" if variable.shared == variable.bytes else f"{variable.shared:,}"


def load(shell: Any, sessions: Any, rust: Any) -> None:
    """Registers `%slaf` with its subcommands and those of the shell, and the comm in
    kernels."""
    look = lambda: variables(shell, sessions, rust)  # noqa: E731
    verbs = {"vars": _vars(look), **getattr(shell, "slaf_verbs", {})}
    shell.register_magic_function(_magic(verbs), "line", "slaf")
    if hasattr(shell, "kernel"):
        feed = _Feed(look)
        previous = getattr(shell, "slaf_feed", None)
        if previous is not None:
            shell.events.unregister("post_run_cell", previous.after_cell)
        shell.slaf_feed = feed
        shell.events.register("post_run_cell", feed.after_cell)
        feed.listen()


def _magic(verbs: dict[str, Callable[[str], Any]]):
    def slaf(line: str):
        from IPython.core.error import UsageError

        verb, _, arguments = line.strip().partition(" ")
        if verb not in verbs:
            known = " and ".join(f"`%slaf {name}`" for name in verbs)
            raise UsageError(f"%slaf knows {known}.")
        return verbs[verb](arguments.strip())

    slaf.__doc__ = "\n\n".join(filter(None, map(inspect.getdoc, verbs.values())))
    return slaf


def _vars(look: Callable[[], Variables]) -> Callable[[str], Variables]:
    def verb(arguments: str) -> Variables:
        """`%slaf vars`: lists variables of Python, SQL and Rust, and which are shared."""
        from IPython.core.error import UsageError

        if arguments:
            raise UsageError("`%slaf vars` takes nothing.")
        return look()

    return verb


class _Feed:
    """The kernel's side of the comm."""

    def __init__(self, look: Callable[[], Variables]):
        self._look = look
        self._comms: dict[str, Any] = {}

    def listen(self) -> None:
        import comm

        comm.get_comm_manager().register_target(_TARGET, self._opened)

    def _opened(self, comm: Any, message: Any) -> None:
        self._comms[comm.comm_id] = comm
        comm.on_msg(lambda message: self._send(comm))
        comm.on_close(lambda message: self._comms.pop(comm.comm_id, None))
        self._send(comm)

    def after_cell(self, *_: Any) -> None:
        for comm in list(self._comms.values()):
            self._send(comm)

    def _send(self, comm: Any) -> None:
        comm.send({"variables": [asdict(variable) for variable in self._look()]})


def variables(shell: Any, sessions: Any, rust: Any) -> Variables:
    """All variables that the user has defined, in all languages."""
    hidden = shell.user_ns_hidden
    found = [
        _python(name, value)
        for name, value in list(shell.user_ns.items())
        if not name.startswith("_") and name not in hidden and not isinstance(value, _CODE)
    ]
    found += [Variable(name, "view", ["SQL"]) for name in sessions.views]
    found += [Variable(name, kind, ["Rust"]) for name, kind in rust.variables()]
    return Variables(sorted(found, key=lambda variable: variable.name.lower()))


_CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def _python(name: str, value: Any) -> Variable:
    # Imports pandas, which a kernel without frames never needs.
    from slaf.sql.tables import is_frame

    languages = ["Python"]
    if is_table := is_frame(value) or type(value).__name__ in ("LazyAnnData", "SLAFArray"):
        languages.append("SQL")
    if is_table or _is_matrix(value):
        languages.append("Rust")
    shape = getattr(value, "shape", None)
    if not (isinstance(shape, tuple) and all(isinstance(n, int) for n in shape)):
        shape = None
    size, shared = _sizes(value)
    return Variable(name, type(value).__name__, languages, shape and list(shape), size, shared)


def _is_matrix(value: Any) -> bool:
    return getattr(value, "format", None) == "csr" or type(value).__name__ == "LazyExpressionMatrix"


def _sizes(value: Any) -> tuple[int | None, int | None]:
    """The size of all buffers, and of those that are shared."""
    kind = f"{type(value).__module__}.{type(value).__name__}"
    if kind == "polars.dataframe.frame.DataFrame":
        sizes = [_slaf.shared_bytes(column) for column in value]
        return sum(all for _, all in sizes), sum(shared for shared, _ in sizes)
    if kind == "polars.series.series.Series":
        shared, all = _slaf.shared_bytes(value)
        return all, shared
    if kind.startswith("pandas.") and hasattr(value, "memory_usage"):
        usage = value.memory_usage()
        return int(getattr(usage, "sum", lambda: usage)()), 0
    if kind.startswith("scipy.sparse.") and hasattr(value, "indptr"):
        return sum(part.nbytes for part in (value.indptr, value.indices, value.data)), 0
    size = getattr(value, "nbytes", None)
    return (size, 0) if isinstance(size, int) else (None, None)
