"""A source into a dataset: X in blocks, then everything else, published at
once."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from slaf import SlafError, _metadata, _slaf
from slaf._metadata import Encoded
from slaf._progress import Progress
from slaf.data.sources.base import Block, Matrix, Parts, Source, SparseRows, in_file, loaded

if TYPE_CHECKING:
    import anndata

#: What values are stored as, from narrow to wide.
_VALUE_TYPES = ("uint16", "float32", "float64")

#: Bytes of the vectors of one batch of obs, about.
_BATCH_BYTES = 4 << 20

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
        parts.notes["x"] = source.x.note
        rest = source.rest()
        cells, genes, config = parts.of(rest)
        parts.uns_json(rest.uns)
        del rest
        parts.finish(cells, genes, config, _stage("genes", progress))
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
        parts.notes["x"] = source.x.note
        cells, genes, config = parts.of(source.rest())
        # Pairs of the cells that were there stay as they are.
        for section in ("obsp", "varp"):
            if section in notes:
                parts.notes[section] = notes[section]
        for section in ("obsm", "varm", "layers"):
            config.setdefault(section, None)
        parts.finish(cells, genes, config, _stage("genes", progress))
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
        cells, genes, config = parts.of(raw.rest())
        parts.finish(cells, genes, config, None)
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

    def of(self, parts: Parts | anndata.AnnData) -> tuple[_Axis, _Axis, dict[str, Any]]:
        """cells, genes and what goes into `config.json`; writes the rest."""
        cells, genes = self._axis(parts, "obs"), self._axis(parts, "var")
        shape = len(cells), len(genes)
        tables = {}
        for section, folder in _PAIRS.items():
            if self._pairs(getattr(parts, section), section, folder, shape):
                tables[folder.removesuffix(".lance")] = folder
        if len(parts.uns):
            self._extras["uns"] = dict(parts.uns)
        if self._extras:
            self.notes["extras"] = f"extras{self._suffix}.h5"
            self._writer.write_file(self.notes["extras"], _h5(self._extras))
        return cells, genes, self._config | {"tables": tables, "slaf": self.notes}

    def finish(
        self,
        cells: _Axis,
        genes: _Axis,
        config: dict[str, Any],
        watch: Callable[[int, int], None] | None,
    ) -> None:
        """Writes what `of` gave, and publishes the dataset."""
        try:
            self._writer.finish(cells.reader(), genes.reader(), json.dumps(config), watch)
        except Exception as error:
            # The engine knows of a reader's error no more than its text.
            raise cells.failure or genes.failure or error from None

    def uns_json(self, uns: Mapping[str, Any]) -> None:
        """For slafdb; what JSON cannot say is left to the extras."""
        if len(uns):
            self._writer.write_file("uns.json", uns_json(uns))

    def _axis(self, parts: Parts | anndata.AnnData, axis: str) -> _Axis:
        """obs with its obsm, or var with its varm. What a table cannot hold
        becomes an extra."""
        frame, section = getattr(parts, axis), f"{axis}m"
        vectors, others = {}, {}
        for key, value in getattr(parts, section).items():
            if is_vector(value):
                vectors[key] = value
            else:
                others[key] = loaded(value)
        if others:
            self._extras[section] = others
        id_column = "cell_id" if axis == "obs" else "gene_id"
        stored: dict[str, str] = {}
        for key in vectors:
            stored[key] = _metadata.free_name(key, _metadata.RESERVED | set(stored.values()))
        columns, self.notes[axis] = _metadata.encode(frame, id_column, set(stored.values()))
        self._config[f"{axis}_dtypes"] = _metadata.slafdb_dtypes(self.notes[axis])
        if stored:
            self.notes[section] = stored
            self._config[section] = {
                "available": list(stored.values()),
                "immutable": list(stored.values()),
                "mutable": [],
                "dimensions": {stored[k]: v.shape[1] for k, v in vectors.items()},
            }
        return _Axis(columns, {stored[key]: value for key, value in vectors.items()})

    def _pairs(
        self, found: Mapping[str, Any], section: str, folder: str, shape: tuple[int, int]
    ) -> bool:
        """Writes layers, obsp or varp; whether there was anything to write."""
        matrices: dict[str, Matrix] = {}
        # To anndata 0.13 X is the layer without a name.
        for key, value in found.items():
            if key is None:
                continue
            if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
                value = SparseRows(value, value.shape)
            elif sparse.issparse(value) and value.dtype.kind in "biuf":
                value = SparseRows(value.tocsr(), value.shape)
            named = "." not in key and key not in _metadata.RESERVED
            if isinstance(value, Matrix) and named:
                matrices[key] = value
            else:
                self._extras.setdefault(section, {})[key] = _whole(value)
        if not matrices:
            return False
        self.notes[section] = {
            key: {"dtype": x.note["dtype"], "dense": x.note["encoding"] == "dense"}
            for key, x in matrices.items()
        }
        width = shape[0] if section == "obsp" else shape[1]
        # float32 until a value asks for more; all of a column has one type.
        types = dict.fromkeys(matrices, "float32")
        while (key := self._columns(matrices, types, section, folder, width)) is not None:
            types[key] = "float64"
        keys = list(matrices)
        self._config[section] = {"available": keys, "immutable": keys, "mutable": []}
        return True

    def _columns(
        self,
        matrices: dict[str, Matrix],
        types: dict[str, str],
        section: str,
        folder: str,
        width: int,
    ) -> str | None:
        """Writes a coordinate table, or tells which matrix needs a wider type."""
        table = self._writer.begin_pairs(folder, section, width, list(types.items()))
        for blocks in _side_by_side([x.blocks() for x in matrices.values()]):
            refused = table.append(blocks)
            if refused is not None:
                key = list(matrices)[refused[0]]
                if types[key] == "float64":
                    row, column, value = refused[1:]
                    raise SlafError(
                        f"`{section}/{key}` holds {value} in row {row}, column {column} (from 0), "
                        "which cannot be stored exactly."
                    )
                return key
        self._writer.end_pairs(table)
        return None


class _Axis:
    """obs or var, which is read as it is written."""

    def __init__(self, columns: dict[str, pa.Array | Encoded], vectors: dict[str, Any]):
        self.failure: BaseException | None = None
        self._columns, self._vectors = columns, vectors

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def reader(self) -> pa.RecordBatchReader:
        fields = [pa.field(name, column.type) for name, column in self._columns.items()]
        for name, value in self._vectors.items():
            kind = pa.list_(pa.from_numpy_dtype(value.dtype), value.shape[1])
            fields.append(pa.field(name, kind))
        schema = pa.schema(fields)
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema))

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        a_row = sum(v.shape[1] * v.dtype.itemsize for v in self._vectors.values())
        step = max(1, _BATCH_BYTES // max(64, a_row))
        try:
            for start in range(0, len(self), step):
                rows = min(step, len(self) - start)
                columns = [column.slice(start, rows) for column in self._columns.values()]
                for value in self._vectors.values():
                    part = np.ascontiguousarray(value[start : start + rows])
                    flat = pa.array(part.ravel(), from_pandas=False)
                    columns.append(pa.FixedSizeListArray.from_arrays(flat, part.shape[1]))
                yield pa.record_batch(columns, schema=schema)
        except BaseException as error:
            self.failure = error
            raise


def _whole(value: Any) -> Any:
    """A matrix that no table can hold, in memory."""
    if not isinstance(value, Matrix):
        return value
    if isinstance(value, SparseRows):
        return loaded(value.x)
    blocks = list(value.blocks())
    rows = [sparse.csr_matrix((d, i, p - p[0]), (len(p) - 1, value.shape[1])) for p, i, d in blocks]
    whole = sparse.vstack(rows, format="csr") if rows else sparse.csr_matrix(value.shape)
    return whole.asformat(value.note["encoding"]).astype(value.note["dtype"])


def _side_by_side(matrices: list[Iterator[Block]]) -> Iterator[list[Block]]:
    """Blocks of the same rows of all matrices, whatever rows their own span."""
    left = [next(blocks, None) for blocks in matrices]
    while all(block is not None for block in left):
        rows = min(len(indptr) - 1 for indptr, _, _ in left)
        yield [_rows(block, 0, rows) for block in left]
        for place, block in enumerate(left):
            height = len(block[0]) - 1
            left[place] = (
                _rows(block, rows, height) if rows < height else next(matrices[place], None)
            )


def _rows(block: Block, start: int, end: int) -> Block:
    indptr, indices, data = block
    if start == 0 and end == len(indptr) - 1:
        return block
    span = slice(indptr[start] - indptr[0], indptr[end] - indptr[0])
    return indptr[start : end + 1], indices[span], data[span]


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


def is_vector(value: Any) -> bool:
    """Whether an obsm or varm fits a column of the table."""
    array = isinstance(value, np.ndarray) or in_file(value)
    fits = array and value.ndim == 2 and value.shape[1] > 0
    return fits and value.dtype in (np.float32, np.float64)


def uns_json(uns: Mapping[str, Any]) -> bytes:
    """What JSON can say of uns."""
    plain = {}
    for key, value in uns.items():
        try:
            plain[key] = _jsonable(value)
        except TypeError:
            continue
    return json.dumps(plain, indent=2).encode()


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
