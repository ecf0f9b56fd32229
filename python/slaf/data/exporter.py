"""SLAF to h5ad in bounded memory: X and layers go over in blocks of rows, the
rest as anndata writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf import _slaf
from slaf._progress import Progress

if TYPE_CHECKING:
    import h5py

    from slaf.integrations.anndata import LazyAnnData, LazyExpressionMatrix

#: Stored values of a block, about, and elements of a chunk of the file.
_BLOCK_VALUES = 4 << 20
_CHUNK = 1 << 16


def export_h5ad(
    handle: LazyAnnData,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    compression: str | None = None,
    storage_options: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Writes the cells and genes of `handle` to the h5ad file `path`, a local
    one or an address on an object store. Sparse X is written as CSR.

    `compression` is "gzip", "lzf" or None.

    Raises
    ------
    FileExistsError
        `path` exists, and `overwrite` is not set.
    OSError
        It cannot be written.
    """
    address = os.fspath(path)
    if "://" in address:
        _export_away(handle, address, overwrite, compression, storage_options, progress)
        return
    target = Path(address)
    if target.exists() and not overwrite:
        raise FileExistsError(
            f"`{target}` exists already. Choose another name, or overwrite it "
            "(`overwrite=True`, `--overwrite`)."
        )
    partial = target.with_name(f".{target.name}.partial")
    try:
        _write(handle, partial, compression, progress)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _export_away(
    handle: LazyAnnData,
    address: str,
    overwrite: bool,
    compression: str | None,
    options: dict[str, str] | None,
    progress: Progress | None,
) -> None:
    import tempfile

    folder, _, name = address.rpartition("/")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / name
        if not overwrite:
            try:
                _slaf.download(address, file, options)
            except FileNotFoundError:
                pass
            else:
                raise FileExistsError(
                    f"`{address}` exists already. Choose another name, or overwrite it "
                    "(`overwrite=True`, `--overwrite`)."
                )
        _write(handle, file, compression, progress)
        _slaf.upload(file, address, options)


def _write(
    handle: LazyAnnData, path: Path, compression: str | None, progress: Progress | None
) -> None:
    import h5py
    from anndata.io import write_elem

    tell = progress or (lambda what, done, total: None)
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "anndata"
        file.attrs["encoding-version"] = "0.1.0"
        kwargs = {"compression": compression} if compression else {}
        x = handle.X
        if x is not None:
            dense = (handle.slaf._notes.get("x") or {}).get("encoding") == "dense"
            _matrix(file, "X", x, dense, compression, lambda done, n: tell("cells", done, n))
        layers = file.create_group("layers")
        _as_dict(layers)
        for key, layer in handle.layers.items():
            noted = handle.slaf._notes.get("layers", {}).get(key, {})
            _matrix(layers, key, layer, noted.get("dense", False), compression, lambda *_: None)
        adata = handle._to_adata(x=False, layers=False)
        for name in ("obs", "var"):
            write_elem(file, name, getattr(adata, name), dataset_kwargs=kwargs)
        for name in ("obsm", "varm", "obsp", "varp", "uns"):
            write_elem(file, name, dict(getattr(adata, name)), dataset_kwargs=kwargs)
        raw = handle.raw
        if raw is not None:
            group = file.create_group("raw")
            group.attrs["encoding-type"] = "raw"
            group.attrs["encoding-version"] = "0.1.0"
            _matrix(group, "X", raw.X, False, compression, lambda done, n: tell("raw", done, n))
            write_elem(group, "var", raw.var, dataset_kwargs=kwargs)
            write_elem(group, "varm", dict(raw.varm), dataset_kwargs=kwargs)


def _as_dict(group: h5py.Group) -> None:
    group.attrs["encoding-type"] = "dict"
    group.attrs["encoding-version"] = "0.1.0"


def _matrix(
    parent: h5py.Group,
    name: str,
    matrix: LazyExpressionMatrix,
    dense: bool,
    compression: str | None,
    tell: Any,
) -> None:
    """A lazy matrix in anndata's encoding, block by block."""
    height, width = matrix.shape
    if dense:
        target = parent.create_dataset(
            name, shape=(height, width), dtype=matrix.dtype, compression=compression
        )
        target.attrs["encoding-type"] = "array"
        target.attrs["encoding-version"] = "0.2.0"
        for start, block in _blocks(matrix, width):
            target[start : start + block.shape[0]] = block.toarray()
            tell(start + block.shape[0], height)
        return
    group = parent.create_group(name)
    group.attrs["encoding-type"] = "csr_matrix"
    group.attrs["encoding-version"] = "0.1.0"
    group.attrs["shape"] = (height, width)
    growing = {"shape": (0,), "maxshape": (None,), "chunks": (_CHUNK,), "compression": compression}
    data = group.create_dataset("data", dtype=matrix.dtype, **growing)
    indices = group.create_dataset("indices", dtype=np.int32, **growing)
    indptr = np.zeros(height + 1, np.int64)
    for start, block in _blocks(matrix, _a_row(matrix)):
        begin, rows = int(indptr[start]), block.shape[0]
        indptr[start + 1 : start + rows + 1] = begin + block.indptr[1:].astype(np.int64)
        end = int(indptr[start + rows])
        for dataset, values in ((data, block.data), (indices, block.indices)):
            dataset.resize((end,))
            dataset[begin:end] = values
        tell(start + rows, height)
    small = indptr[-1] <= np.iinfo(np.int32).max
    indptr = indptr.astype(np.int32) if small else indptr
    group.create_dataset("indptr", data=indptr, compression=compression)


def _a_row(matrix: LazyExpressionMatrix) -> int:
    """Stored values of a row of the whole matrix, about."""
    cells, _ = matrix.slaf.shape
    return matrix.slaf._dataset.nnz // max(1, cells)


def _blocks(matrix: LazyExpressionMatrix, a_row: int) -> Any:
    step = max(1, _BLOCK_VALUES // max(1, a_row))
    for start in range(0, matrix.shape[0], step):
        yield start, matrix[start : start + step].compute()
