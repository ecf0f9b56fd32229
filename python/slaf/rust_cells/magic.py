"""The magics `%%rust` and `%rust`, and completion in their cells."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.ground import completion
from slaf.rust_cells.errors import RustError, raise_if_failed

if TYPE_CHECKING:
    from slaf.rust_cells.process import CellProcess
    from slaf.rust_cells.shared_variables import Variables

#: Seconds that completion, or listing the variables, may take.
_PATIENCE = 3.0


def load(shell: Any) -> RustCells:
    """Registers the magics and their completion."""
    if hasattr(shell, "slaf_rust"):
        shell.slaf_rust.close()
    cells = shell.slaf_rust = RustCells(shell)
    shell.register_magic_function(_magic(cells), "line_cell", "rust")
    completion.register(shell, "slaf.rust", lambda text, cursor: _candidates(cells, text, cursor))
    return cells


class RustCells:
    """Runs the Rust cells of a shell, in a process that starts with the first."""

    def __init__(self, shell: Any):
        self._shell = shell
        self._process: CellProcess | None = None
        self._variables: Variables | None = None

    def run(self, code: str, needs: list[str] = (), makes: list[str] = ()) -> Any:
        """Runs a cell and returns its value, if it has one.

        `needs` are variables that must exist, `makes` those that the cell must set.
        """
        if self._process is None or not self._process.is_alive:
            # Before the variables are checked, which then costs no time.
            self._start()
        for name in needs:
            from slaf.rust_cells.shared_variables import as_frame

            value = self._shared_variables().find(name)
            if not hasattr(value, "X") and not hasattr(value, "indptr"):
                as_frame(name, value)
        if self._variables is not None:
            self._variables.made.clear()
        answer = self._ready_process().run(code)
        raise_if_failed(answer, answer["stderr"])
        for header in answer.get("dropped", []):
            print(
                f"`{header}` of an earlier cell does not fit what this cell defines, and is gone: "
                "run that cell again.",
                file=sys.stderr,
            )
        made = self._variables.made if self._variables is not None else set()
        for name in makes:
            if name not in made:
                near = _slaf.nearest(name, list(made))
                hint = f" It made {' and '.join(f'`{n}`' for n in near)}." if near else ""
                raise RustError(
                    f"The cell did not make `{name}`, which `--out` names.{hint} "
                    f'Write `slaf::put("{name}", batch)?`.'
                )
        shows = answer["data"] and answer["data"] != {"text/plain": "()"}
        return Value(answer["data"]) if shows else None

    def reset(self) -> None:
        """Forgets variables, functions, `use` and `:dep`."""
        if self._process is not None:
            answer = self._ready_process().request("reset")
            raise_if_failed(answer, answer["stderr"])

    def complete(self, code: str, cursor: int) -> tuple[int, int, list[tuple[str, str]]]:
        """The start and end of the completed text in `code`, and each candidate with
        its kind. There are none until Rust has started; the first call starts it."""
        if self._process is None or not self._process.is_alive:
            self._start()
        if not self._process.is_ready:
            return cursor, cursor, []
        place = len(code[:cursor].encode())
        answer = self._process.request("complete", timeout=_PATIENCE, code=code, cursor=place)
        if answer["status"] != "ok" or not answer["matches"]:
            return cursor, cursor, []
        start, end = (len(code.encode()[: answer[n]].decode()) for n in ("start", "end"))
        return start, end, [(match["text"], match["type"]) for match in answer["matches"]]

    def variables(self) -> list[tuple[str, str]]:
        """The variables of Rust cells, and their types."""
        if self._process is None or not self._process.is_alive or not self._process.is_ready:
            return []
        answer = self._process.request("variables", timeout=_PATIENCE)
        return [(name, kind) for name, kind in answer.get("variables", [])]

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _shared_variables(self) -> Variables:
        if self._variables is None:
            # numpy, pandas and polars take a second to import. A cell that shares
            # nothing does not need them.
            from slaf.rust_cells.shared_variables import Variables

            self._variables = Variables(self._shell.user_ns)
        return self._variables

    def _start(self) -> None:
        import atexit

        from slaf.rust_cells.process import CellProcess

        atexit.unregister(self.close)
        self.close()
        self._process = CellProcess(lambda text, fds: self._shared_variables().answer(text, fds))
        atexit.register(self.close)

    def _ready_process(self) -> CellProcess:
        if self._process is None or not self._process.is_alive:
            self._start()
        if not self._process.is_ready:
            answer = self._process.start()
            if answer["status"] != "ok":
                self.close()
                raise_if_failed(answer, "")
        return self._process


class Value:
    """The value of a cell. `data` holds it by MIME type."""

    def __init__(self, data: dict[str, str]):
        self._data = data

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self)} | self._data

    def __repr__(self) -> str:
        return self._data.get("text/plain", "a value of Rust")


def _magic(cells: RustCells):
    from IPython.core.magic import no_var_expand

    @no_var_expand
    def rust(line: str, cell: str | None = None):
        """Compile and run Rust.

        %%rust [--in NAME,NAME…] [--out NAME,NAME…]
        let batch = slaf::get("frame")?;        a DataFrame as an Arrow RecordBatch
        let x = slaf::csr("adata.X")?;          a sparse matrix
        slaf::put("scores", batch)?;            a DataFrame for Python and SQL

        %rust --reset forgets what cells defined; %rust EXPRESSION runs one line.
        """
        from IPython.core.error import UsageError

        try:
            if cell is None:
                return _line(cells, line.strip())
            needs, makes = _options(line)
            # An empty line in place of the magic's keeps the line numbers of errors.
            return cells.run(f"\n{cell}", needs, makes)
        except RustError:
            raise
        except SlafError as error:
            raise UsageError(str(error)) from None

    return rust


def _line(cells: RustCells, line: str) -> Any:
    if line == "--reset":
        return cells.reset()
    if not line or line.startswith("--"):
        raise SlafError("`%rust --reset` starts again; `%rust EXPRESSION` runs one line.")
    return cells.run(line)


def _options(line: str) -> tuple[list[str], list[str]]:
    names: dict[str, list[str]] = {"--in": [], "--out": []}
    words = re.sub(r"\s*,\s*", ",", line.replace("=", " ")).split()
    while words:
        option = words.pop(0)
        if option not in names:
            raise SlafError(f"There is no option `{option}`. %%rust knows `--in` and `--out`.")
        if not words or words[0].startswith("--"):
            raise SlafError(f"`{option}` needs names, such as `{option} cells,scores`.")
        names[option] += [name for name in words.pop(0).split(",") if name]
    return names["--in"], names["--out"]


def code_of(text: str) -> int | None:
    """Where the code of a `%%rust` cell or `%rust` line begins; `None` in others."""
    found = re.match(r"\s*%%rust\b[^\n]*\n", text) or re.match(r"\s*%rust[ \t]+(?!-)", text)
    return found.end() if found else None


def _candidates(cells: RustCells, text: str, cursor: int) -> completion.Candidates | None:
    begin = code_of(text)
    if begin is None or cursor < begin:
        return None
    try:
        start, end, found = cells.complete(text[begin:], cursor - begin)
    except (SlafError, OSError):
        return cursor, cursor, []
    return begin + start, begin + end, found
