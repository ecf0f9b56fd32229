"""h5ad files of every generation of anndata.

X is read chunk by chunk: HDF5 says where the chunks lie, and the engine decodes
them on all cores. What it cannot decode, HDF5 reads. The rest is anndata's, so
that each file is understood by the library that wrote it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from slaf import SlafError, _slaf
from slaf.data.sources.base import (
    BLOCK_VALUES,
    Block,
    Matrix,
    Parts,
    Source,
    SparseRows,
    fingerprint,
    index_of,
)

if TYPE_CHECKING:
    import anndata
    import h5py

#: HDF5's numbers of the filters that the engine decodes.
_FILTERS = {1: "gzip", 2: "shuffle", 32015: "zstd"}


def h5ad_source(path: Path) -> Source:
    """The h5ad file `path`.

    Raises
    ------
    SlafError
        It is no h5ad file, or is damaged.
    """
    import h5py

    _more_filters()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise damaged(path, error) from None
    try:
        for group in ("obs", "var"):
            if group not in file:
                raise SlafError(f"`{path}` is not an h5ad file: it has no `{group}`.")
        x = _x(file, path)
        raw = None
        if "raw" in file or "raw.X" in file:
            raw = _raw(file, path)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        file.close()
        raise error if isinstance(error, SlafError) else damaged(path, error) from None

    return Source(
        name=path.name,
        x=x,
        metadata=lambda: _metadata(path),
        parts=lambda: parts(file, path),
        fingerprint=fingerprint(path),
        raw=raw,
        close=file.close,
    )


def damaged(path: Path, error: BaseException) -> SlafError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return SlafError(f"`{path}` is not an h5ad file, or is damaged: {first.rstrip('.')}.")


class H5Rows:
    """The CSR matrix of 1-d datasets `indptr`, `indices` and `data` in a group."""

    def __init__(self, file: h5py.File, group: str, shape: tuple[int, int], note: dict[str, Any]):
        self.shape = shape
        self.note = note
        node = file[group]
        self._indptr = node["indptr"][:].astype(np.int64)
        self._indices = _array(file, node["indices"])
        self._data = _array(file, node["data"])
        self.nnz = int(self._indptr[-1]) if len(self._indptr) else 0
        if len(self._indptr) != shape[0] + 1:
            raise SlafError(
                f"`{file.filename}` is damaged: `{group}/indptr` has {len(self._indptr)} entries "
                f"for {shape[0]} cells."
            )
        for name, array in (("indices", node["indices"]), ("data", node["data"])):
            if len(array) != self.nnz:
                raise SlafError(
                    f"`{file.filename}` is damaged: `{group}/{name}` has {len(array)} values where "
                    f"indptr counts {self.nnz}."
                )

    def blocks(self, start: int = 0) -> Iterator[Block]:
        height, at = self.shape[0], start
        while at < height:
            begin = self._indptr[at]
            end = int(np.searchsorted(self._indptr, begin + BLOCK_VALUES, side="right")) - 1
            end = min(max(end, at + 1), height)
            indptr = self._indptr[at : end + 1]
            span = int(begin), int(indptr[-1])
            yield in_order(indptr, self._indices(*span), self._data(*span))
            at = end


class H5Transposed:
    """The rows of a CSC matrix in a group, in bounded memory."""

    def __init__(self, file: h5py.File, group: str, shape: tuple[int, int], note: dict[str, Any]):
        self._columns = H5Rows(file, group, (shape[1], shape[0]), note)
        self.shape, self.note, self.nnz = shape, note, self._columns.nnz

    def blocks(self, start: int = 0) -> Iterator[Block]:
        transposer = None
        for indptr, rows, data in self._columns.blocks():
            if transposer is None:
                transposer = _slaf.Transposer(self.shape[0], data.dtype.name)
            transposer.push(indptr, rows, data)
        if transposer is None:
            transposer = _slaf.Transposer(self.shape[0], "float32")
        at = start
        while (block := transposer.rows_from(at)) is not None:
            indptr, indices, data = block
            yield indptr.astype(np.int64), indices, data
            at += len(indptr) - 1


def in_order(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> Block:
    """The block with the columns of each row ascending."""
    from scipy import sparse

    if indices.dtype not in (np.int32, np.int64):
        indices = indices.astype(np.int64)
    descents = np.flatnonzero(indices[1:] <= indices[:-1]) + 1
    # Between two rows the columns may descend; within one they may not.
    if len(descents) and not np.isin(descents, indptr - indptr[0]).all():
        width = int(indices.max()) + 1
        rows = (data, indices, indptr - indptr[0])
        block = sparse.csr_matrix(rows, shape=(len(indptr) - 1, width), copy=True)
        block.sort_indices()
        indices, data = block.indices, block.data
    return indptr, indices, data


def _array(file: h5py.File, dataset: h5py.Dataset) -> Any:
    """A function from a range to values of a 1-d dataset."""
    from slaf.data.sources.base import plain

    places = _places(file, dataset)
    if places is None:
        return lambda start, end: plain(dataset[start:end])
    # The engine widens what it has no type for.
    array = _slaf.Chunks(*places)
    return array.read


def _places(file: h5py.File, dataset: h5py.Dataset) -> tuple | None:
    """Where the engine finds the values, if it can read them by itself."""

    kind = dataset.dtype
    readable = kind.newbyteorder("=").name if kind.byteorder in "<=|" and kind.kind in "iuf" else ""
    if readable in ("", "float16", "uint64") or len(dataset.shape) != 1 or not len(dataset):
        return None
    if dataset.is_virtual or dataset.external or file.driver not in ("sec2", "stdio"):
        return None
    plist = dataset.id.get_create_plist()
    numbers = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if any(number not in _FILTERS for number in numbers):
        return None
    filters = [_FILTERS[number] for number in numbers]
    # Offsets count from the end of a user block.
    base = file.id.get_create_plist().get_userblock()
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is None:
            return None
        chunks = [(offset + base, dataset.nbytes, 0)]
        return file.filename, readable, len(dataset), len(dataset), filters, chunks
    (chunk,) = dataset.chunks
    count = -(-len(dataset) // chunk)
    found: dict[int, tuple[int, int, int]] = {}

    def note(info: h5py.h5d.StoreInfo) -> None:
        found[info.chunk_offset[0] // chunk] = (
            info.byte_offset + base,
            info.size,
            info.filter_mask,
        )

    dataset.id.chunk_iter(note)
    if len(found) != count:
        # A chunk that was never written holds the fill value.
        return None
    chunks = [found[i] for i in range(count)]
    return file.filename, readable, len(dataset), chunk, filters, chunks


def _x(file: h5py.File, path: Path) -> Matrix:
    if "X" in file:
        return _matrix(file, "X", None)
    shape = (_length(file["obs"]), _length(file["var"]))
    return Nothing(shape)


class Nothing:
    """X of a file without one."""

    def __init__(self, shape: tuple[int, int]):
        self.shape = shape
        self.note = {"dtype": "float32", "encoding": "absent", "absent": True}
        self.nnz = 0

    def blocks(self, start: int = 0) -> Iterator[Block]:
        rows = self.shape[0] - start
        if rows > 0:
            yield np.zeros(rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)


def _matrix(file: h5py.File, name: str, shape: tuple[int, int] | None) -> Matrix:
    import h5py

    node = file[name]
    if isinstance(node, h5py.Dataset):
        return SparseRows(node, tuple(map(int, node.shape)))
    if "data" not in node:
        raise SlafError(f"`{file.filename}`: `{name}` is no matrix that anndata writes.")
    encoding = node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "csr_matrix"))
    encoding = encoding.decode() if isinstance(encoding, bytes) else str(encoding)
    shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape", shape))
    shape = tuple(int(n) for n in shape)
    dtype = node["data"].dtype
    if dtype.kind not in "biuf":
        raise SlafError(f"X holds {dtype}, and only real numbers can be stored.")
    by_column = encoding.startswith("csc")
    note = {"dtype": dtype.name, "encoding": "csc" if by_column else "csr"}
    return (H5Transposed if by_column else H5Rows)(file, name, shape, note)


def _raw(file: h5py.File, path: Path) -> Source | None:
    if "raw.X" in file:
        # anndata before 0.7 spread raw over the root.
        shape = (_length(file["obs"]), _length(file["raw.var"]))
        x = _matrix(file, "raw.X", shape)
    else:
        if "X" not in file["raw"]:
            return None
        x = _matrix(file, "raw/X", None)

    def metadata() -> anndata.AnnData:
        import anndata

        backed = _backed(path)
        obs = pd.DataFrame(index=backed.obs_names)
        return anndata.AnnData(obs=obs, var=backed.raw.var, varm=dict(backed.raw.varm))

    def parts() -> Parts | anndata.AnnData:
        if "raw" not in file or not (_modern(file["obs"]) and _modern(file["raw/var"])):
            return metadata()
        return Parts(
            obs=pd.DataFrame(index=index_of(H5Columns(file["obs"]))),
            var=H5Columns(file["raw/var"]),
            varm=_vectors(file, "raw/varm", _length(file["raw/var"])),
        )

    return Source(name=path.name, x=x, metadata=metadata, parts=parts)


def parts(file: h5py.File, path: Path) -> Parts | anndata.AnnData:
    """Everything but X and raw, what is large left in the file. Files of
    anndata before 0.8 are read by anndata as a whole."""
    if not (_modern(file["obs"]) and _modern(file["var"])):
        return _metadata(path)
    from anndata.io import read_elem

    try:
        obs, var = H5Columns(file["obs"]), H5Columns(file["var"])
        cells, genes = _length(file["obs"]), _length(file["var"])
        return Parts(
            obs=obs,
            var=var,
            obsm=_vectors(file, "obsm", cells),
            varm=_vectors(file, "varm", genes),
            layers=_matrices(file, "layers", (cells, genes)),
            obsp=_matrices(file, "obsp", (cells, cells)),
            varp=_matrices(file, "varp", (genes, genes)),
            uns=read_elem(file["uns"]) if "uns" in file else {},
        )
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise error if isinstance(error, SlafError) else damaged(path, error) from None


def _modern(frame: Any) -> bool:
    """Whether each column of a frame can be read by itself."""
    return frame.attrs.get("encoding-version") == "0.2.0"


class H5Columns:
    """A frame in the group `node`, that is read by ranges of rows."""

    def __init__(self, node: h5py.Group):
        self._node = node
        name = node.attrs["_index"]
        self.index_name = None if name == "_index" else name

    def ids(self) -> H5Column | pd.Series:
        return self._column(self._node.attrs["_index"])

    def items(self) -> Iterator[tuple[str, H5Column | pd.Series]]:
        for name in self._node.attrs["column-order"]:
            yield name, self._column(name)

    def _column(self, name: str) -> H5Column | pd.Series:
        from anndata.io import read_elem

        column = H5Column(self._node[name])
        return column if column.known else pd.Series(read_elem(self._node[name]))


class H5Column:
    """A column in the `node` that anndata wrote it to."""

    def __init__(self, node: h5py.Dataset | h5py.Group):
        from anndata.io import read_elem

        self._node = node
        self._kind = node.attrs.get("encoding-type")
        values = {
            "categorical": "codes",
            "nullable-integer": "values",
            "nullable-boolean": "values",
        }
        self._values = node[values[self._kind]] if self._kind in values else node
        #: Whether `rows` understands it.
        self.known = self._kind in (*values, "array", "string-array") and self._values.ndim == 1
        if self._kind == "categorical":
            self._categories = read_elem(node["categories"])

    def __len__(self) -> int:
        return len(self._values)

    def rows(self, start: int, end: int) -> pd.Series:
        try:
            return pd.Series(self._read(slice(start, end)))
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise damaged(Path(self._node.file.filename), error) from None

    def _read(self, rows: slice) -> Any:
        if self._kind == "string-array":
            return self._values.asstr()[rows]
        values = self._values[rows]
        if self._kind == "categorical":
            ordered = bool(self._node.attrs["ordered"])
            return pd.Categorical.from_codes(values, self._categories, ordered=ordered)
        if self._kind == "nullable-integer":
            return pd.arrays.IntegerArray(values, self._node["mask"][rows])
        if self._kind == "nullable-boolean":
            return pd.arrays.BooleanArray(values, self._node["mask"][rows])
        return values


def _vectors(file: h5py.File, section: str, length: int) -> dict[str, Any]:
    import h5py
    from anndata.io import read_elem

    found = {}
    for key, node in (file[section] if section in file else {}).items():
        plain = isinstance(node, h5py.Dataset) and node.dtype.kind == "f"
        found[key] = node if plain else read_elem(node)
        _check(file, f"{section}/{key}", found[key].shape[0], length)
    return found


def _matrices(file: h5py.File, section: str, shape: tuple[int, int]) -> dict[str, Any]:
    import h5py
    from anndata.io import read_elem

    found = {}
    for key, node in (file[section] if section in file else {}).items():
        values = node if isinstance(node, h5py.Dataset) else node.get("data")
        plain = values is not None and values.dtype.kind in "biuf"
        found[key] = _matrix(file, f"{section}/{key}", None) if plain else read_elem(node)
        _check(file, f"{section}/{key}", found[key].shape, shape)
    return found


def _check(file: h5py.File, name: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise SlafError(
            f"`{file.filename}` is damaged: `{name}` has shape {found}, where obs and var ask for "
            f"{wanted}."
        )


def _metadata(path: Path) -> anndata.AnnData:
    """Everything but X and raw."""
    import anndata

    backed = _backed(path)
    try:
        parts = {
            name: {k: v for k, v in getattr(backed, name).items() if k is not None}
            for name in ("obsm", "varm", "obsp", "varp")
        }
        return anndata.AnnData(
            obs=backed.obs,
            var=backed.var,
            uns=dict(backed.uns),
            # To anndata 0.13 X is the layer without a name.
            layers={k: _loaded(v) for k, v in backed.layers.items() if k is not None},
            **parts,
        )
    finally:
        backed.file.close()


def _loaded(value: Any) -> Any:
    return value.to_memory() if hasattr(value, "to_memory") else value


def _backed(path: Path) -> anndata.AnnData:
    import anndata

    try:
        with warnings.catch_warnings():
            # Files of anndata 0.6 and before are read, and said to be old.
            warnings.simplefilter("ignore")
            return anndata.read_h5ad(path, backed="r")
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise damaged(path, error) from None


def _length(frame: Any) -> int:
    """Rows of obs or var, of a group or of a compound dataset."""
    import h5py

    if isinstance(frame, h5py.Dataset):
        return len(frame)
    index = frame.attrs.get("_index", "_index")
    names = frame[index.decode() if isinstance(index, bytes) else index]
    # Nullable texts are a group of values and a mask.
    return len(names["values"] if isinstance(names, h5py.Group) else names)


def _more_filters() -> None:
    """zstd, lz4 and blosc, where the package that has them is installed."""
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        pass
