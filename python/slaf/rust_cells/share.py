"""What Rust cells ask of the session while they run: variables by their names,
and names for what they made."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from scipy import sparse

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.ground.hints import did_you_mean
from slaf.sql.tables import table_of

#: Columns that are shared at once have at least this many bytes, if there are
#: more: few are in memory twice, and few files are needed.
_GROUP = 16 << 20
#: Answers to a request, and what must live until it is sent.
Answer = tuple[str, list[int], Any]


class Variables:
    """The session's variables, as Rust cells see them."""

    def __init__(self, namespace: MutableMapping[str, Any]):
        self._namespace = namespace
        #: Names that cells gave since somebody looked.
        self.made: set[str] = set()

    def answer(self, request: str, fds: list[int]) -> Answer:
        """The answer to `get NAME`, `csr NAME` or `put NAME`, `ROWS` and columns."""
        head, _, rest = request.partition("\n")
        verb, _, name = head.partition(" ")
        if verb == "put":
            rows, _, text = rest.partition("\n")
            self._put(name, int(rows), text, fds)
            return "ok ", [], None
        if verb == "csr":
            shape, shared = self._csr(name)
        else:
            frame = as_frame(name, self.find(name))
            shape, shared = (frame.height,), share_frame(frame)
        return f"ok {' '.join(map(str, shape))}\n{shared.text}", shared.fds, shared

    def find(self, name: str) -> Any:
        """A variable, or an attribute of one: `adata.obs`."""
        first, *attributes = name.split(".")
        if first not in self._namespace:
            raise SlafError(f"There is no variable `{first}`.{_near(first, self._namespace)}")
        value = self._namespace[first]
        for place, attribute in enumerate(attributes):
            if attribute.startswith("_") or not hasattr(value, attribute):
                owner = ".".join([first, *attributes[:place]])
                raise SlafError(f"`{owner}` has no `{attribute}`.{_near(attribute, dir(value))}")
            value = getattr(value, attribute)
        return value

    def _put(self, name: str, rows: int, text: str, fds: list[int]) -> None:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise SlafError(f"`{name}` cannot be a variable's name.")
        try:
            self._namespace[name] = pl.DataFrame(_slaf.open_shared(text, fds, rows))
        except pl.exceptions.PolarsError as error:
            raise SlafError(f"polars cannot take `{name}`: {error}.") from None
        self.made.add(name)

    def _csr(self, name: str) -> tuple[tuple[int, int], _slaf.Shared]:
        value = self.find(name)
        if not sparse.issparse(value):
            value = getattr(value, "X", value)
            value = value.compute() if hasattr(value, "compute") else value
        if not sparse.issparse(value) or value.ndim != 2:
            raise SlafError(
                f"`{name}` is a {type(value).__name__} and no sparse matrix. "
                f"Use `slaf::get` for frames, and `scipy.sparse.csr_matrix` for arrays."
            )
        if value.format != "csr":
            raise SlafError(
                f"`{name}` is in {value.format.upper()} format, which has no rows. "
                f"Share `{name}.tocsr()`."
            )
        if value.shape[1] > 2**31:
            raise SlafError(f"`{name}` has more columns than an i32 counts.")
        data = value.data.view(np.uint8) if value.dtype == bool else value.data
        shared = _slaf.Shared()
        parts = {
            "indptr": value.indptr.astype(np.int64, copy=False),
            "indices": value.indices.astype(np.int32, copy=False),
            "data": data,
        }
        for part, array in parts.items():
            shared.add([(part, _arrow(name, array))])
        return value.shape, shared


def as_frame(name: str, value: Any) -> pl.DataFrame:
    """A variable as the frame that it is, or nearly is."""
    if isinstance(value, pl.DataFrame):
        return value
    try:
        if isinstance(value, pl.LazyFrame):
            return value.collect()
        if isinstance(value, pl.Series):
            return value.to_frame()
        if isinstance(value, pd.Series) or (isinstance(value, np.ndarray) and value.ndim == 1):
            column = str(getattr(value, "name", None) or "value")
            return pl.DataFrame({column: pa.array(value, from_pandas=True)})
        table = None if isinstance(value, type) else table_of(value)
        if table is not None:
            return pl.DataFrame(table)
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        raise SlafError(f"Arrow cannot carry `{name}`: {first}.") from None
    hint = " Use `slaf::csr`." if sparse.issparse(value) else " Make it a DataFrame."
    raise SlafError(f"`{name}` is a {type(value).__name__}, which Arrow cannot carry.{hint}")


def share_frame(frame: pl.DataFrame) -> _slaf.Shared:
    """Moves a frame into shared memory: its columns are copied there, a few at a
    time, and the frame then has them there, so that they are in memory once.
    Columns that are there already stay as they are."""
    for name, dtype in frame.schema.items():
        if dtype == pl.Object:
            raise SlafError(f"The column `{name}` holds Python objects, which Arrow cannot carry.")
    shared = _slaf.Shared()
    for names in _groups(frame):
        table, copied = shared.add([(name, frame[name]) for name in names])
        if copied:
            _move(frame, pl.DataFrame(table))
    return shared


def _groups(frame: pl.DataFrame) -> Iterator[list[str]]:
    group, size = [], 0
    for name in frame.columns:
        group.append(name)
        size += frame[name].estimated_size()
        if size >= _GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _move(frame: pl.DataFrame, there: pl.DataFrame) -> None:
    """Gives `frame` the same columns from another place."""
    same = []
    for new in there:
        old = frame[new.name]
        # Categories are numbered anew when they are read.
        if new.dtype != old.dtype or _has_categories(old.dtype):
            continue
        if old.flags["SORTED_ASC"] or old.flags["SORTED_DESC"]:
            new = new.set_sorted(descending=old.flags["SORTED_DESC"])
        same.append(new)
    # As polars' own methods that change a frame do it: all names of it see it.
    frame._df = frame.with_columns(same)._df


def _has_categories(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(_has_categories(field.dtype) for field in dtype.fields)
    inner = getattr(dtype, "inner", None)
    return _has_categories(inner) if inner else isinstance(dtype, (pl.Categorical, pl.Enum))


def _arrow(name: str, array: np.ndarray) -> pa.Array:
    try:
        return pa.array(array)
    except pa.ArrowException:
        raise SlafError(f"`{name}` holds {array.dtype}, which Arrow cannot carry.") from None


def _near(name: str, known: Iterable[str]) -> str:
    return did_you_mean(_slaf.nearest(name, list(known)))
