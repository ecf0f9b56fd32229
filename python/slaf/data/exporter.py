"""Exports SLAF to h5ad in limited memory: X and layers in blocks of rows, everything else
as anndata writes it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from slaf import _slaf
from slaf.ground import metadata
from slaf.ground.progress import Progress, job, stages
from slaf.lazy.export import to_adata
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.state import HandleState, OverState, state_of
from slaf.lazy.stream import blocks_of

if TYPE_CHECKING:
    import h5py

#: Elements per chunk of the file.
_CHUNK = 1 << 16


def export_h5ad(
    handle: OverState,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    compression: str | None = None,
    storage_options: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Writes the cells and genes of `handle` to the h5ad file `path`, which can be
    local or on an object store. Sparse X is written as CSR.

    `compression` is "gzip", "lzf" or None.

    Raises
    ------
    FileExistsError
        `path` exists, and `overwrite` is not set.
    OSError
        It cannot be written, for example because `path` is a folder or its folder does
        not exist.
    """
    address = os.path.expanduser(os.fspath(path))
    if "://" in address:
        with stages(progress) as report:
            _export_away(state_of(handle), address, overwrite, compression, storage_options, report)
        return
    target = Path(address)
    try:
        _refuse(address, target, overwrite)
        partial = target.with_name(f".{target.name}.partial")
        try:
            with stages(progress) as report:
                _write(state_of(handle), partial, compression, report)
            partial.replace(target)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        # For an error on closing, HDF5 gives the number only in its message.
        found = re.search(r"errno = (\d+)", str(error))
        number = getattr(error, "errno", None) or (found and int(found[1]))
        if number is None:
            raise
        kind = type(error) if isinstance(error, OSError) else OSError
        raise kind(f"`{target}` cannot be written: {os.strerror(number)}.") from None


def _refuse(address: str, target: Path, overwrite: bool) -> None:
    if target.is_dir() or address.endswith("/"):
        raise IsADirectoryError(
            f"`{address or target}` is a folder. Name the file to write, such as `cells.h5ad`."
        )
    if target.exists() and not overwrite:
        raise FileExistsError(
            f"`{target}` exists already. Choose another name, or overwrite it "
            "(`overwrite=True`, `--overwrite`)."
        )
    if target.exists() and not target.is_file():
        raise FileExistsError(
            f"`{target}` is not a file that can be overwritten. Choose another name."
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"`{target}` cannot be written: there is no folder `{target.parent}`. Make it first."
        )
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(
            f"`{target}` cannot be written: you may not write to the folder `{target.parent}`. "
            "Choose another."
        )


def _export_away(
    state: HandleState,
    address: str,
    overwrite: bool,
    compression: str | None,
    options: dict[str, str] | None,
    report: Progress,
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
        _write(state, file, compression, report)
        with job("upload", unit="byte") as uploading:
            _slaf.upload(file, address, options, uploading)


def _write(state: HandleState, path: Path, compression: str | None, report: Progress) -> None:
    import h5py

    # First everything that can be refused, and X last.
    notices: dict[str, str] = {}
    rest, raw = _rest(state, notices), state.raw
    raw_rest = {} if raw is None else _rest(raw, notices)
    layers: dict[str, Any] = {}
    for key, layer in state.held("layers").items():
        taken = layers.keys() | state.held("layers").keys() - {key}
        layers[metadata.h5_name(key, taken, "layers", notices)] = layer.at(*state.part)
    metadata.warn_of(notices, stacklevel=4)
    settings = {"compression": compression} if compression else {}
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "anndata"
        file.attrs["encoding-version"] = "0.1.0"
        x = state.x
        if x is not None:
            _matrix(file, "X", x, compression, lambda done, n: report("cells", done, n))
        group = file.create_group("layers")
        _encoded_as(group, "dict")
        for key, layer in layers.items():
            _matrix(group, key, layer, compression, lambda *_: None)
        for name, value in rest.items():
            metadata.write(file, name, value, **settings)
        if raw is not None:
            group = file.create_group("raw")
            _encoded_as(group, "raw")
            _matrix(group, "X", raw.x, compression, lambda done, n: report("raw", done, n))
            for name in ("var", "varm"):
                metadata.write(group, name, raw_rest[name], **settings)


def _rest(state: HandleState, notices: dict[str, str]) -> dict[str, Any]:
    """Everything except X and layers, in the form that anndata writes."""
    adata = to_adata(state, x=False, layers=False)
    # As anndata does before it writes: text with repeated values becomes categories.
    adata.strings_to_categoricals()
    frames = {
        axis: metadata.h5_frame(getattr(adata, axis), axis, notices) for axis in ("obs", "var")
    }
    sections = ("obsm", "varm", "obsp", "varp", "uns")
    return frames | metadata.h5_forms({n: dict(getattr(adata, n)) for n in sections}, notices)


def _encoded_as(group: h5py.Group, kind: str) -> None:
    group.attrs["encoding-type"] = kind
    group.attrs["encoding-version"] = "0.1.0"


def _matrix(
    parent: h5py.Group,
    name: str,
    matrix: MatrixPlan,
    compression: str | None,
    report: Any,
) -> None:
    """Writes a lazy matrix in anndata's encoding, block by block."""
    height, width = matrix.shape
    if matrix.was_dense:
        target = parent.create_dataset(
            name, shape=(height, width), dtype=matrix.dtype, compression=compression
        )
        target.attrs["encoding-type"] = "array"
        target.attrs["encoding-version"] = "0.2.0"
        for start, block in blocks_of(matrix):
            target[start : start + block.shape[0]] = (
                block.toarray() if sparse.issparse(block) else block
            )
            report(start + block.shape[0], height)
        return
    group = parent.create_group(name)
    group.attrs["encoding-type"] = "csr_matrix"
    group.attrs["encoding-version"] = "0.1.0"
    group.attrs["shape"] = (height, width)
    growing = {"shape": (0,), "maxshape": (None,), "chunks": (_CHUNK,), "compression": compression}
    data = group.create_dataset("data", dtype=matrix.dtype, **growing)
    indices = group.create_dataset("indices", dtype=np.int32, **growing)
    indptr = np.zeros(height + 1, np.int64)
    for start, block in blocks_of(matrix):
        begin, rows = int(indptr[start]), block.shape[0]
        indptr[start + 1 : start + rows + 1] = begin + block.indptr[1:].astype(np.int64)
        end = int(indptr[start + rows])
        for dataset, values in ((data, block.data), (indices, block.indices)):
            dataset.resize((end,))
            dataset[begin:end] = values
        report(start + rows, height)
    small = indptr[-1] <= np.iinfo(np.int32).max
    indptr = indptr.astype(np.int32) if small else indptr
    group.create_dataset("indptr", data=indptr, compression=compression)
