"""h5ad and AnnData to SLAF.

anndata reads the metadata, so that every generation of its files is
understood; X streams in blocks of rows to the engine, which encodes beside the
reader and publishes the dataset at once or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from slaf import SlafError, _metadata, _slaf

if TYPE_CHECKING:
    import anndata

#: Cells of a block, and the stored values that make a block smaller.
_BLOCK_CELLS = 8192
_BLOCK_VALUES = 8 << 20


class SLAFConverter:
    """Converts h5ad files and AnnData objects to SLAF datasets.

    Everything is kept: X (sparse or dense, of any real dtype), obs and var with
    categories and missing values, obsm, varm, obsp, varp, layers, uns and raw.
    slafdb opens the result.

    `chunk_size` is the number of cells read at once. The other parameters are
    accepted for slafdb's sake.
    """

    def __init__(
        self,
        use_integer_keys: bool = True,
        chunked: bool = True,
        chunk_size: int = _BLOCK_CELLS,
        sort_metadata: bool = False,
        create_indices: bool = False,
        optimize_storage: bool = True,
        use_optimized_dtypes: bool = True,
        enable_v2_manifest: bool = True,
        compact_after_write: bool = False,
        tiledb_collection_name: str = "RNA",
        tiledb_layer_name: str = "data",
        enable_checkpointing: bool = True,
        max_rows_per_file: int = 100_000_000,
    ):
        self.chunk_size = chunk_size

    def convert(
        self,
        input_path: str | os.PathLike[str],
        output_path: str | os.PathLike[str],
        input_format: str = "auto",
        skip_validation: bool = False,
        *,
        overwrite: bool = False,
    ) -> None:
        """Converts the h5ad file `input_path` to the dataset `output_path`.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        FileExistsError
            `output_path` exists, and `overwrite` is not set.
        SlafError
            The file is no h5ad file, or is damaged.
        """
        source, target = Path(input_path), Path(output_path)
        if input_format not in ("auto", "h5ad"):
            raise SlafError(
                f"`{input_format}` files cannot be converted yet. Convert an h5ad file."
            )
        if not source.exists():
            raise FileNotFoundError(f"There is no file `{source}`. Check the spelling.")
        if target.exists() and not overwrite:
            raise FileExistsError(
                f"`{target}` exists already. Choose another name, or overwrite it "
                "(`overwrite=True`, `--overwrite`)."
            )
        adata = _open_h5ad(source)
        try:
            self._write(adata, target, overwrite)
        except OSError as error:
            if "HDF5" in str(error) or "Can't" in str(error):
                raise _damaged(source, error) from None
            raise
        finally:
            if adata.isbacked:
                adata.file.close()

    def convert_anndata(
        self,
        adata: anndata.AnnData,
        output_path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
    ) -> None:
        """Converts an AnnData object; errors as :meth:`convert`."""
        self._write(adata, Path(output_path), overwrite)

    def _write(self, adata: anndata.AnnData, target: Path, overwrite: bool) -> None:
        notes: dict[str, Any] = {"writer": f"slaf-jupyter {_slaf.__version__}"}
        x = _Matrix(_x_of(adata), adata.shape, self.chunk_size)
        notes["x"] = x.note
        writer = x.write(target, overwrite)
        try:
            staging = Path(writer.staging)
            config, extras = {}, {}
            cells, notes["obs"] = _axis_table(adata, "obs", config, extras, notes)
            genes, notes["var"] = _axis_table(adata, "var", config, extras, notes)
            tables = {}
            for section, file in _PAIRS.items():
                if _write_pairs(adata, section, staging / file, config, extras, notes):
                    tables[Path(file).stem] = file
            if adata.raw is not None:
                self._write_raw(adata, staging)
                notes["raw"] = "raw"
            if len(adata.uns):
                extras["uns"] = dict(adata.uns)
                _write_uns_json(staging / "uns.json", adata.uns)
            if extras:
                _write_extras(staging / "extras.h5", extras)
            config |= {"tables": tables, "slaf": notes}
            writer.finish(cells, genes, json.dumps(config))
        except BaseException:
            writer.discard()
            raise

    def _write_raw(self, adata: anndata.AnnData, staging: Path) -> None:
        """`raw` is a dataset of its own inside, with the same cells."""
        import anndata

        raw = anndata.AnnData(
            obs=pd.DataFrame(index=adata.obs_names), var=adata.raw.var, varm=dict(adata.raw.varm)
        )
        x = _Matrix(adata.raw.X, adata.raw.shape, self.chunk_size)
        writer = x.write(staging / "raw", overwrite=False)
        config, extras, notes = {}, {}, {"x": x.note}
        cells, notes["obs"] = _axis_table(raw, "obs", config, extras, notes)
        genes, notes["var"] = _axis_table(raw, "var", config, extras, notes)
        if extras:
            _write_extras(Path(writer.staging) / "extras.h5", extras)
        writer.finish(cells, genes, json.dumps(config | {"slaf": notes}))


class _Matrix:
    """X in blocks of rows, whatever it is stored as."""

    def __init__(self, x: Any, shape: tuple[int, int], block_cells: int):
        self.shape = shape
        self.block_cells = block_cells
        kind = type(x).__name__.lower()
        if x is None:
            x = sparse.csr_matrix(shape, dtype=np.float32)
            self.note = {"dtype": "float32", "encoding": "absent", "absent": True}
        elif hasattr(x, "toarray") or hasattr(x, "to_memory") or "sparse" in kind:
            by_column = getattr(x, "format", "csr") == "csc"
            self.note = {"dtype": x.dtype.name, "encoding": "csc" if by_column else "csr"}
            if by_column:
                # Rows of a CSC matrix are all over it.
                x = (x.to_memory() if hasattr(x, "to_memory") else x).tocsr()
        else:
            if not hasattr(x, "dtype"):
                x = np.asarray(x)
            self.note = {"dtype": x.dtype.name, "encoding": "dense"}
        if x.dtype.kind not in "biuf":
            raise SlafError(f"X holds {x.dtype}, and only real numbers can be stored.")
        self.x = x

    def write(self, target: Path, overwrite: bool) -> _slaf.Writer:
        """A writer that has taken all blocks. Counts are tried first: the first
        value that is none is met in the first block or, rarely, later."""
        for value_type in ("uint16", "float32", "float64"):
            writer = _slaf.Writer(target, self.shape, value_type, overwrite)
            try:
                if all(writer.append(*block) for block in self._blocks()):
                    return writer
            except BaseException:
                writer.discard()
                raise
            writer.discard()
        raise SlafError("X holds integers beyond 2^53, which cannot be stored exactly.")

    def _blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        cells = max(1, min(self.block_cells, _BLOCK_VALUES // max(1, self._row_values())))
        for start in range(0, self.shape[0], cells):
            block = self.x[start : min(start + cells, self.shape[0])]
            if not sparse.issparse(block):
                block = np.atleast_2d(np.asarray(block))
            block = sparse.csr_matrix(block)
            block.sort_indices()
            yield block.indptr.astype(np.int64), block.indices.astype(np.int64), _plain(block.data)

    def _row_values(self) -> int:
        """How many values a row holds, about."""
        if self.note["encoding"] == "dense":
            return self.shape[1]
        nnz = getattr(self.x, "nnz", None)
        return self.shape[1] if nnz is None else nnz // max(1, self.shape[0])


_PAIRS = {
    "layers": "layers.lance",
    "obsp": "cellsxcells.lance",
    "varp": "genesxgenes.lance",
}


def _open_h5ad(path: Path) -> anndata.AnnData:
    import warnings

    import anndata

    try:
        with warnings.catch_warnings():
            # Files of anndata 0.6 and before are read, and said to be old.
            warnings.simplefilter("ignore")
            return anndata.read_h5ad(path, backed="r")
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _damaged(path, error) from None


def _x_of(adata: anndata.AnnData) -> Any:
    """X, or None: of a file without one, a backed AnnData raises."""
    if adata.isbacked and "X" not in adata.file._file:
        return None
    return adata.X


def _damaged(path: Path, error: BaseException) -> SlafError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return SlafError(f"`{path}` is not an h5ad file, or is damaged: {first.rstrip('.')}.")


def _axis_table(
    adata: anndata.AnnData, axis: str, config: dict, extras: dict, notes: dict
) -> tuple[pa.Table, dict[str, Any]]:
    """obs with its obsm, or var with its varm, as one table. What the table
    cannot hold goes to `extras`."""
    frame, section = getattr(adata, axis), f"{axis}m"
    vectors, others = {}, {}
    for key, value in getattr(adata, section).items():
        fits = isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] > 0
        if fits and value.dtype in (np.float32, np.float64):
            vectors[key] = value
        else:
            others[key] = value
    if others:
        extras[section] = others
    id_column = "cell_id" if axis == "obs" else "gene_id"
    stored: dict[str, str] = {}
    for key in vectors:
        stored[key] = _metadata._free_name(key, _metadata.RESERVED | set(stored.values()))
    table, note = _metadata.encode(frame, id_column, set(stored.values()))
    for key, value in vectors.items():
        flat = pa.array(np.ascontiguousarray(value).ravel(), from_pandas=False)
        column = pa.FixedSizeListArray.from_arrays(flat, value.shape[1])
        table = table.append_column(stored[key], column)
    if stored:
        notes[section] = stored
        config[section] = {
            "available": list(stored.values()),
            "immutable": list(stored.values()),
            "mutable": [],
            "dimensions": {stored[k]: v.shape[1] for k, v in vectors.items()},
        }
    return table, note


def _write_pairs(
    adata: anndata.AnnData, section: str, path: Path, config: dict, extras: dict, notes: dict
) -> bool:
    """Writes layers, obsp or varp; whether there was anything to write."""
    matrices, note = [], {}
    # To anndata 0.13 X is the layer without a name.
    for key in [key for key in getattr(adata, section) if key is not None]:
        value = getattr(adata, section)[key]
        plain = sparse.issparse(value) or isinstance(value, np.ndarray)
        if not plain or value.dtype.kind not in "biuf" or "." in key or key in _metadata.RESERVED:
            extras.setdefault(section, {})[key] = value
            continue
        csr = sparse.csr_matrix(value)
        csr.sort_indices()
        note[key] = {"dtype": csr.dtype.name, "dense": not sparse.issparse(value)}
        arrays = (csr.indptr.astype(np.int64), csr.indices.astype(np.int32), _plain(csr.data))
        matrices.append((key, *arrays))
    if not matrices:
        return False
    width = adata.n_obs if section == "obsp" else adata.n_vars
    _slaf.write_pairs(path, section, width, matrices)
    notes[section] = note
    keys = list(note)
    config[section] = {"available": keys, "immutable": keys, "mutable": []}
    return True


def _plain(data: np.ndarray) -> np.ndarray:
    """In one of the dtypes that the engine takes, losing nothing."""
    if data.dtype in (np.uint16, np.int32, np.int64, np.float32, np.float64):
        return np.ascontiguousarray(data)
    if data.dtype == np.float16:
        return data.astype(np.float32)
    if data.dtype == np.uint64:
        if data.size and data.max() > np.iinfo(np.int64).max:
            raise SlafError("X holds integers beyond 2^63, which cannot be stored.")
        return data.astype(np.int64)
    return data.astype(np.int64 if data.dtype == np.uint32 else np.int32)


def _write_extras(path: Path, extras: dict[str, Any]) -> None:
    """What the tables cannot hold, as anndata writes it."""
    import h5py
    from anndata.io import write_elem

    with h5py.File(path, "w") as file:
        for key, value in extras.items():
            write_elem(file, key, value)


def _write_uns_json(path: Path, uns: Mapping[str, Any]) -> None:
    """For slafdb; what JSON cannot say is left to `extras.h5`."""
    plain = {}
    for key, value in uns.items():
        try:
            plain[key] = _jsonable(value)
        except TypeError:
            continue
    path.write_text(json.dumps(plain, indent=2), encoding="utf-8")


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.names is None:
        return _jsonable(value.tolist())
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        return _jsonable(value.item())
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(type(value).__name__)
