"""A source into a dataset: X in blocks, then everything else, published at
once."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from slaf import SlafError, _metadata, _slaf
from slaf._progress import Progress
from slaf.data.sources.base import Source, plain

if TYPE_CHECKING:
    import anndata

#: What values are stored as, from narrow to wide.
_VALUE_TYPES = ("uint16", "float32", "float64")

_PAIRS = {
    "layers": "layers.lance",
    "obsp": "cellsxcells.lance",
    "varp": "genesxgenes.lance",
}


def write(
    source: Source,
    target: str,
    *,
    overwrite: bool,
    by_gene: bool,
    counts: bool | None,
    fragment_rows: int | None,
    options: dict[str, str] | None,
    progress: Progress,
) -> None:
    """Makes the dataset `target` of `source`."""

    def begin(value_type: str) -> _slaf.Writer:
        return _slaf.Writer(
            target,
            source.x.shape,
            value_type,
            counts=source.counts if counts is None else counts,
            by_gene=by_gene,
            overwrite=overwrite,
            fragment_rows=fragment_rows,
            source=source.fingerprint,
            options=options,
        )

    writer = _fill(begin, source, "cells", progress)
    try:
        parts = _Parts(writer, "")
        if source.raw is not None:
            _write_raw(writer, source, by_gene, progress)
            parts.notes["raw"] = "raw"
        adata = source.metadata()
        parts.notes["x"] = source.x.note
        cells, genes, config = parts.of(adata)
        parts.uns_json(adata.uns)
        del adata
        writer.finish(cells, genes, json.dumps(config), _stage("genes", progress))
    except BaseException as error:
        _stop(writer, error, target, source)
        raise


def append(
    source: Source,
    dataset: _slaf.Dataset,
    *,
    begin_at: int,
    notes: Mapping[str, Any],
    by_gene: bool,
    progress: Progress,
) -> None:
    """Adds the cells of `source` from `begin_at` on to `dataset`, whose own
    cells and genes it begins with. `notes` are the dataset's."""
    writer = _slaf.Writer.append_to(dataset, source.x.shape, by_gene)
    try:
        _feed(writer, source, begin_at, "cells", progress, final=True)
        # What earlier versions read is left as it is.
        version = (dataset.version or 0) + 1
        parts = _Parts(writer, f"-{version}")
        if source.raw is not None and "raw" in notes:
            _append_raw(source.raw, dataset, notes, begin_at, by_gene, progress)
            parts.notes["raw"] = notes["raw"]
            parts.notes["raw_version"] = dataset.nested(notes["raw"], None).version
        adata = source.metadata()
        parts.notes["x"] = source.x.note
        cells, genes, config = parts.of(adata)
        # Pairs of the cells that were there stay as they are.
        for section in ("obsp", "varp"):
            if section in notes:
                parts.notes[section] = notes[section]
        for section in ("obsm", "varm", "layers"):
            config.setdefault(section, None)
        writer.finish(cells, genes, json.dumps(config), _stage("genes", progress))
    except BaseException:
        writer.discard()
        raise


def _append_raw(
    raw: Source,
    dataset: _slaf.Dataset,
    notes: Mapping[str, Any],
    begin_at: int,
    by_gene: bool,
    progress: Progress,
) -> None:
    inner = dataset.nested(notes["raw"], notes.get("raw_version"))
    inner_notes = json.loads(inner.config).get("slaf", {})
    append(
        raw,
        inner,
        begin_at=begin_at,
        notes=inner_notes,
        by_gene=by_gene,
        progress=lambda _, done, total: progress("raw", done, total),
    )


def _write_raw(writer: _slaf.Writer, source: Source, by_gene: bool, progress: Progress) -> None:
    """`raw` is a dataset of its own inside, with the same cells."""
    raw = source.raw

    def begin(value_type: str) -> _slaf.Writer:
        return writer.nested(
            "raw", raw.x.shape, value_type, by_gene=by_gene, source=source.fingerprint
        )

    inner = _fill(begin, raw, "raw", progress)
    try:
        parts = _Parts(inner, "")
        parts.notes["x"] = raw.x.note
        cells, genes, config = parts.of(raw.metadata())
        inner.finish(cells, genes, json.dumps(config), None)
    except BaseException as error:
        _stop(inner, error, "", source)
        raise


def _fill(
    begin: Callable[[str], _slaf.Writer], source: Source, what: str, progress: Progress
) -> _slaf.Writer:
    """A writer that has taken all of X. Counts are tried first: the first value
    that is none is met in the first block or, rarely, later."""
    types = list(_VALUE_TYPES)
    while types:
        writer = begin(types[0])
        # An earlier conversion may have found out already.
        types = types[types.index(writer.value_type) + 1 :]
        try:
            if _feed(writer, source, writer.cells_done, what, progress, final=not types):
                return writer
        except BaseException as error:
            _stop(writer, error, "", source)
            raise
        writer.discard()
    raise AssertionError("the widest type refuses for good")


def _feed(
    writer: _slaf.Writer,
    source: Source,
    start: int,
    what: str,
    progress: Progress,
    *,
    final: bool,
) -> bool:
    """Whether the writer could store all values of the rows from `start` on; if
    it should have, a value that it cannot is an error."""
    done, total = start, source.x.shape[0]
    progress(what, done, total)
    for block in source.x.blocks(start):
        refused = writer.append(*block)
        if refused is not None:
            if final or refused[3]:
                raise _refusal(source, *refused)
            return False
        done += len(block[0]) - 1
        progress(what, done, total)
    return True


def _refusal(source: Source, cell: int, gene: int, value: str, no_count: bool) -> SlafError:
    adata = source.metadata()
    place = f"`{source.name}`: cell {adata.obs_names[cell]!r}, gene {adata.var_names[gene]!r}"
    if no_count:
        return SlafError(f"{place} holds {value}, which is no count, and counts are claimed.")
    return SlafError(f"{place} holds {value}, which cannot be stored exactly.")


def _stop(writer: _slaf.Writer, error: BaseException, target: str, source: Source) -> None:
    """Leaves a conversion that can be taken up; removes any other."""
    broken_line = isinstance(error, OSError) and "://" in target
    if source.fingerprint and (isinstance(error, KeyboardInterrupt) or broken_line):
        writer.suspend()
    else:
        writer.discard()


def _stage(what: str, progress: Progress) -> Callable[[int, int], None]:
    def watch(done: int, total: int) -> None:
        if total:
            progress(what, done, total)

    return watch


class _Parts:
    """Everything of an AnnData but X, on its way into a dataset."""

    def __init__(self, writer: _slaf.Writer, suffix: str):
        self._writer = writer
        self._suffix = suffix
        self._config: dict[str, Any] = {}
        self._extras: dict[str, Any] = {}
        self.notes: dict[str, Any] = {"writer": f"slaf-jupyter {_slaf.__version__}"}

    def of(self, adata: anndata.AnnData) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
        """cells, genes and what goes into `config.json`; writes the rest."""
        tables = {}
        for section, folder in _PAIRS.items():
            if self._pairs(adata, section, folder):
                tables[folder.removesuffix(".lance")] = folder
        cells = self._axis(adata, "obs")
        genes = self._axis(adata, "var")
        if len(adata.uns):
            self._extras["uns"] = dict(adata.uns)
        if self._extras:
            self.notes["extras"] = f"extras{self._suffix}.h5"
            self._writer.write_file(self.notes["extras"], _h5(self._extras))
        return cells, genes, self._config | {"tables": tables, "slaf": self.notes}

    def uns_json(self, uns: Mapping[str, Any]) -> None:
        """For slafdb; what JSON cannot say is left to the extras."""
        plain = {}
        for key, value in uns.items():
            try:
                plain[key] = _jsonable(value)
            except TypeError:
                continue
        if len(uns):
            self._writer.write_file("uns.json", json.dumps(plain, indent=2).encode())

    def _axis(self, adata: anndata.AnnData, axis: str) -> pa.Table:
        """obs with its obsm, or var with its varm, as one table. What the table
        cannot hold becomes an extra."""
        frame, section = getattr(adata, axis), f"{axis}m"
        vectors, others = {}, {}
        for key, value in getattr(adata, section).items():
            fits = isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] > 0
            if fits and value.dtype in (np.float32, np.float64):
                vectors[key] = value
            else:
                others[key] = value
        if others:
            self._extras[section] = others
        id_column = "cell_id" if axis == "obs" else "gene_id"
        stored: dict[str, str] = {}
        for key in vectors:
            stored[key] = _metadata._free_name(key, _metadata.RESERVED | set(stored.values()))
        table, self.notes[axis] = _metadata.encode(frame, id_column, set(stored.values()))
        self._config[f"{axis}_dtypes"] = _metadata.slafdb_dtypes(self.notes[axis])
        for key, value in vectors.items():
            flat = pa.array(np.ascontiguousarray(value).ravel(), from_pandas=False)
            column = pa.FixedSizeListArray.from_arrays(flat, value.shape[1])
            table = table.append_column(stored[key], column)
        if stored:
            self.notes[section] = stored
            self._config[section] = {
                "available": list(stored.values()),
                "immutable": list(stored.values()),
                "mutable": [],
                "dimensions": {stored[k]: v.shape[1] for k, v in vectors.items()},
            }
        return table

    def _pairs(self, adata: anndata.AnnData, section: str, folder: str) -> bool:
        """Writes layers, obsp or varp; whether there was anything to write."""
        matrices, note = [], {}
        # To anndata 0.13 X is the layer without a name.
        for key in [key for key in getattr(adata, section) if key is not None]:
            value = getattr(adata, section)[key]
            usual = sparse.issparse(value) or isinstance(value, np.ndarray)
            if (
                not usual
                or value.dtype.kind not in "biuf"
                or "." in key
                or key in _metadata.RESERVED
            ):
                self._extras.setdefault(section, {})[key] = value
                continue
            csr = sparse.csr_matrix(value)
            csr.sort_indices()
            note[key] = {"dtype": csr.dtype.name, "dense": not sparse.issparse(value)}
            arrays = (csr.indptr.astype(np.int64), csr.indices.astype(np.int32), plain(csr.data))
            matrices.append((key, *arrays))
        if not matrices:
            return False
        width = adata.n_obs if section == "obsp" else adata.n_vars
        self._writer.write_pairs(folder, section, width, matrices)
        self.notes[section] = note
        keys = list(note)
        self._config[section] = {"available": keys, "immutable": keys, "mutable": []}
        return True


def _h5(extras: dict[str, Any]) -> bytes:
    """What the tables cannot hold, as anndata writes it."""
    import h5py
    from anndata.io import write_elem

    content = io.BytesIO()
    with h5py.File(content, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        for key, value in extras.items():
            write_elem(file, key, value)
    return content.getvalue()


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
