"""Reads entries of anndata's files, in HDF5 or zarr, by the encoding that they declare."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pandas as pd

from slaf._slaf import SlafError
from slaf.ground.metadata.frames import MANY_CATEGORIES, Column, frame_of


def is_group(node: Any) -> bool:
    return hasattr(node, "keys")


def is_h5(node: Any) -> bool:
    """Whether it is HDF5, not zarr."""
    return type(node).__module__.startswith("h5py")


def place_of(node: Any) -> str:
    """The file or folder that contains `node`."""
    return node.file.filename if is_h5(node) else str(node.store).split("://", 1)[-1]


def damaged(place: Any, error: BaseException, name: str = "") -> SlafError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    where = f": `{name}`" if name else ""
    return SlafError(f"`{place}` is not an h5ad file, or is damaged{where}: {first.rstrip('.')}.")


def not_utf8(node: Any, name: str, error: UnicodeDecodeError | UnicodeEncodeError) -> SlafError:
    return SlafError(
        f"`{place_of(node)}`: `{name}` holds text that is not UTF-8 ({error.object[:24]!r}). "
        "Write it again in UTF-8."
    )


def attribute(node: Any, name: str, default: Any = None) -> Any:
    try:
        value = as_text(node.attrs.get(name, default))
        if isinstance(value, str):
            value.encode()
        return value
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise not_utf8(node, f"{node.name.strip('/')}, {name}", error) from None


def encoding_of(node: Any) -> tuple[str, str]:
    """Encoding type and version; empty if it declares none."""
    kind, version = (attribute(node, f"encoding-{what}", "") for what in ("type", "version"))
    return str(kind), str(version)


def is_dict(node: Any) -> bool:
    """Whether it is a group whose entries are read one by one."""
    plain = is_group(node) and encoding_of(node)[0] in ("dict", "")
    return plain and "h5sparse_format" not in node.attrs


def is_frame(node: Any) -> bool:
    """Whether it is a frame whose columns are read one by one."""
    return is_group(node) and encoding_of(node) == ("dataframe", "0.2.0")


def rows_of(frame: Any) -> int:
    """Reads rows of obs or var, from a group or a compound dataset."""
    if not is_group(frame):
        return frame.shape[0]
    names = frame.get(attribute(frame, "_index", "_index"))
    if is_group(names):
        # Categories are a group of codes; nullable text is a group of values and a mask.
        names = names.get("codes" if "codes" in names else "values")
    if not getattr(names, "shape", ()):
        raise _no_names(frame, frame.name.strip("/"))
    return names.shape[0]


def _no_names(frame: Any, name: str) -> SlafError:
    return SlafError(
        f"`{place_of(frame)}` is damaged: `{name}` does not say which of its columns holds "
        "the names (`_index`), or lacks it. Write the file again with anndata."
    )


def column_order(frame: Any) -> list[str]:
    """Names of the columns of a frame."""
    names = attribute(frame, "column-order", ())
    # Other writers store a single name without a list, and omit an empty list.
    nothing = type(names).__name__ == "Empty"
    return [] if nothing else [str(name) for name in np.atleast_1d(names)]


def left_out(name: str, skip: Collection[str]) -> bool:
    """Whether the entry `name`, or a group that contains it, is in `skip`."""
    return any(name == one or name.startswith(f"{one}/") for one in skip)


def read(node: Any, name: str, skip: Collection[str] = ()) -> Any:
    """The entry `name` in memory, as anndata reads it.

    Raises
    ------
    SlafError
        It is damaged, or contains text that is not UTF-8.
    """
    if is_dict(node):
        below = {key: f"{name}/{key}" for key in node.keys()}
        return {k: read(node[k], n, skip) for k, n in below.items() if not left_out(n, skip)}
    if is_frame(node):
        return frame_of(H5Columns(node, name, skip))
    try:
        if is_h5(node) and encoding_of(node)[0] == "categorical":
            column = H5Column(node, name)
            return column.rows(0, len(column)).array
        if _is_text(node):
            return node.asstr("utf-8")[()]
        return as_text(_read_elem(node))
    except SlafError:
        raise
    except UnicodeDecodeError as error:
        raise not_utf8(node, name, error) from None
    except Exception as error:  # any error of anndata, h5py and zarr
        raise damaged(place_of(node), error, name) from None


def _read_elem(node: Any) -> Any:
    from anndata.io import read_elem

    return read_elem(node)


def _is_text(node: Any) -> bool:
    """Whether it is an array of text that HDF5 can read."""
    import h5py

    return isinstance(node, h5py.Dataset) and h5py.check_string_dtype(node.dtype) is not None


class H5Columns:
    """The frame `name` in the group `node`, read in ranges of rows."""

    def __init__(self, node: Any, name: str, skip: Collection[str] = ()):
        self._node, self._name, self._skip = node, name, skip
        self._index = attribute(node, "_index")
        if self._index is None or self._index not in node:
            raise _no_names(node, name)
        self.index_name = None if self._index == "_index" else self._index

    def ids(self) -> Column | pd.Series:
        """The names, as text, whatever their type in the file."""
        found = self._column(self._index)
        if isinstance(found, H5Column) and found.is_text:
            return found
        return as_names(found) if isinstance(found, pd.Series) else _Names(found)

    def items(self) -> Iterator[tuple[str, Column | pd.Series]]:
        for name in column_order(self._node):
            if not left_out(f"{self._name}/{name}", self._skip):
                yield name, self._column(name)

    def _column(self, key: str) -> H5Column | pd.Series:
        name, place = f"{self._name}/{key}", place_of(self._node)
        try:
            wanted, column = rows_of(self._node), _column_of(self._node[key], name)
        except SlafError:
            raise
        except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise damaged(place, error, name) from None
        if len(column) != wanted:
            raise SlafError(
                f"`{place}` is damaged: `{name}` has {len(column)} values for the {wanted} rows of "
                f"`{self._name}`. Write the file again, or leave the column out "
                f'(`skip=["{name}"]`, `--skip {name}`).'
            )
        return column


def _column_of(node: Any, name: str) -> H5Column | pd.Series:
    if is_h5(node):
        column = H5Column(node, name)
        if column.known and not column.has_many_categories:
            return column
    values = read(node, name)
    if np.ndim(values) != 1:
        raise ValueError("it is no column")
    return pd.Series(values)


class H5Column:
    """The column `name` in the `node` to which anndata wrote it."""

    def __init__(self, node: Any, name: str):
        self._node, self._name = node, name
        self._kind = encoding_of(node)[0]
        values = {
            "categorical": "codes",
            "nullable-integer": "values",
            "nullable-boolean": "values",
        }
        self._values = node[values[self._kind]] if self._kind in values else node
        masked = self._kind in ("nullable-integer", "nullable-boolean")
        if masked and node["mask"].shape != self._values.shape:
            raise ValueError("its mask has another length than its values")
        #: Whether `rows` can read it.
        self.known = self._kind in (*values, "array", "string-array") and self._values.ndim == 1
        self.is_text = _is_text(self._values)
        self.has_many_categories = False
        if self._kind == "categorical":
            self._categories = read(node["categories"], f"{name}/categories")
            self.has_many_categories = len(self._categories) > MANY_CATEGORIES

    def __len__(self) -> int:
        return len(self._values)

    def rows(self, start: int, end: int) -> pd.Series:
        try:
            return pd.Series(self._read(slice(start, end)))
        except UnicodeDecodeError as error:
            raise not_utf8(self._node, self._name, error) from None
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise damaged(place_of(self._node), error, self._name) from None

    def _read(self, rows: slice) -> Any:
        if self.is_text:
            return self._values.asstr("utf-8")[rows]
        values = self._values[rows]
        if self._kind == "categorical":
            ordered = bool(attribute(self._node, "ordered", False))
            return pd.Categorical.from_codes(values, self._categories, ordered=ordered)
        if self._kind == "nullable-integer":
            return pd.arrays.IntegerArray(values, self._node["mask"][rows])
        if self._kind == "nullable-boolean":
            return pd.arrays.BooleanArray(values, self._node["mask"][rows])
        return values


class _Names:
    """An index of another type than text, converted to text."""

    def __init__(self, column: H5Column):
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def rows(self, start: int, end: int) -> pd.Series:
        return as_names(self._column.rows(start, end))


def as_names(index: pd.Index | pd.Series) -> pd.Series:
    """The names that anndata makes of an index."""
    return pd.Series([str(name) for name in pd.Index(index).astype(str)], dtype=object)


def as_text(value: Any) -> Any:
    """`value`, with bytes decoded as UTF-8."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray):
        return _array_as_text(value)
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    if isinstance(value, pd.Categorical):
        categories = pd.Index(as_text(value.categories.to_numpy()))
        return value if categories.equals(value.categories) else value.rename_categories(categories)
    if isinstance(value, pd.DataFrame):
        columns = {as_text(name): as_text(value[name].array) for name in value.columns}
        index = pd.Index(as_text(value.index.to_numpy()), name=as_text(value.index.name))
        return pd.DataFrame(columns, index=index)
    if isinstance(value, pd.arrays.NumpyExtensionArray):
        return as_text(value.to_numpy())
    return value


def _array_as_text(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8").astype(object)
    if array.dtype == object and any(isinstance(item, bytes) for item in array.flat):
        decoded = np.empty(array.shape, object)
        decoded.flat[:] = [as_text(item) for item in array.flat]
        return decoded
    if array.dtype.names:
        fields = {name: _array_as_text(array[name]) for name in array.dtype.names}
        if any(fields[name].dtype != array.dtype[name] for name in fields):
            decoded = np.empty(array.shape, [(name, field.dtype) for name, field in fields.items()])
            for name, field in fields.items():
                decoded[name] = field
            return decoded.view(type(array))
        for name, field in fields.items():
            if field.dtype == object:
                array[name] = field
    return array
