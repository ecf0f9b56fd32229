"""The session's variables for Rust cells: read by their names, and set."""

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

#: Bytes of columns that are shared together. While they are copied they are in memory
#: twice, so it is not more; each group needs a file, so it is not less.
_GROUP = 16 << 20
#: A text, descriptors to send with it, and an object that must live until then.
Answer = tuple[str, list[int], Any]


class Variables:
    """The variables of `namespace`, as Rust cells see them."""

    def __init__(self, namespace: MutableMapping[str, Any]):
        self._namespace = namespace
        #: Names that cells have set since this was cleared.
        self.made: set[str] = set()

    def answer(self, request: str, fds: list[int]) -> Answer:
        """The answer to a cell's request: `get NAME`, `csr NAME`, or `put NAME` with the
        number of rows and the columns on further lines."""
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
    """A variable as a frame. Raises SlafError if Arrow cannot carry it."""
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
    """Moves a frame into shared memory. A few columns at a time are copied there, and
    the frame then uses the copies, so that the data is in memory once. Columns that
    are there already are not copied."""
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
    """Names of columns that are shared together."""
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
    """Makes `frame` use the columns of `there`, which are equal to its own."""
    same = []
    for new in there:
        old = frame[new.name]
        # Categories get other codes when they are read.
        if new.dtype != old.dtype or _has_categories(old.dtype):
            continue
        if old.flags["SORTED_ASC"] or old.flags["SORTED_DESC"]:
            new = new.set_sorted(descending=old.flags["SORTED_DESC"])
        same.append(new)
    # Polars' own methods that change a frame in place do the same.
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
