"""Writes everything of an AnnData except X to a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from slaf import _slaf
from slaf.data import coordinate_writer
from slaf.data.sources.base import Matrix, Parts, SparseRows, loaded, whole
from slaf.ground import metadata
from slaf.ground.metadata import Encoded

if TYPE_CHECKING:
    import anndata

#: Approximate number of bytes of vectors in a batch of obs.
_BATCH_BYTES = 4 << 20


class PartsWriter:
    """Writes everything except X, and collects what goes into `config.json`."""

    def __init__(self, writer: _slaf.Writer, suffix: str):
        self._writer = writer
        self._suffix = suffix
        self._config: dict[str, Any] = {}
        self._extras: dict[str, Any] = {}
        self.notes: dict[str, Any] = {"writer": f"slaf-jupyter {_slaf.__version__}"}
        #: The entries that are stored in a different form: name → form.
        self.notices: dict[str, str] = {}

    def of(self, parts: Parts | anndata.AnnData) -> tuple[Axis, Axis, dict[str, Any]]:
        """Writes everything but the two metadata tables. Returns cells, genes and the
        entries for `config.json`."""
        cells, genes = self._axis(parts, "obs"), self._axis(parts, "var")
        shape = len(cells), len(genes)
        tables = {}
        for section, folder in metadata.PAIRS.items():
            if self._matrices(getattr(parts, section), section, folder, shape):
                tables[folder.removesuffix(".lance")] = folder
        if len(parts.uns):
            self._extras["uns"] = dict(parts.uns)
        self._extras = metadata.h5_forms(self._extras, self.notices, self.notes)
        if self._extras:
            self.notes["extras"] = f"extras{self._suffix}.h5"
            self._writer.write_file(self.notes["extras"], metadata.h5_bytes(self._extras))
        return cells, genes, self._config | {"tables": tables, "slaf": self.notes}

    def finish(
        self,
        cells: Axis,
        genes: Axis,
        config: dict[str, Any],
        watch: Callable[[int, int], None] | None,
    ) -> None:
        """Writes the result of `of`, and publishes the dataset."""
        try:
            self._writer.finish(cells.reader(), genes.reader(), json.dumps(config), watch)
        except Exception as error:
            # The engine only has the text of a reader's error.
            raise cells.failure or genes.failure or error from None

    def uns_json(self) -> None:
        """uns for slafdb; what JSON cannot express is stored with the extras."""
        if uns := self._extras.get("uns"):
            self._writer.write_file("uns.json", metadata.uns_json(uns))

    def _axis(self, parts: Parts | anndata.AnnData, axis: str) -> Axis:
        """obs with its obsm, or var with its varm. What a table cannot hold becomes an
        extra."""
        frame, section = getattr(parts, axis), f"{axis}m"
        vectors, others = {}, {}
        for key, value in getattr(parts, section).items():
            if metadata.is_vector(value):
                vectors[key] = value
            else:
                others[key] = loaded(value)
        if others:
            self._extras[section] = others
        columns, self.notes[axis], stored = metadata.encode(frame, axis, vectors, self.notices)
        self._config[f"{axis}_dtypes"] = metadata.slafdb_dtypes(self.notes[axis])
        if stored:
            self.notes[section] = stored
            names = [stored[key] for key in vectors]
            self._config[section] = {
                "available": names,
                "immutable": names,
                "mutable": [],
                "dimensions": {stored[k]: v.shape[1] for k, v in vectors.items()},
            }
        return Axis(columns, {stored[key]: value for key, value in vectors.items()})

    def _matrices(
        self, found: Mapping[str, Any], section: str, folder: str, shape: tuple[int, int]
    ) -> bool:
        """Writes layers, obsp or varp; returns whether there was anything to write."""
        matrices: dict[str, Matrix] = {}
        # In anndata 0.13, X is the layer without a name.
        for key, value in found.items():
            if key is None:
                continue
            if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
                value = SparseRows(value, value.shape)
            elif sparse.issparse(value) and value.dtype.kind in "biuf":
                value = SparseRows(value.tocsr(), value.shape)
            if isinstance(value, Matrix) and metadata.fits_pairs(key):
                matrices[key] = value
            else:
                self._extras.setdefault(section, {})[key] = whole(value)
        if not matrices:
            return False
        self.notes[section] = {
            key: {"dtype": x.note["dtype"], "dense": x.note["encoding"] == "dense"}
            for key, x in matrices.items()
        }
        width = shape[0] if section == "obsp" else shape[1]
        coordinate_writer.write(self._writer, matrices, section, folder, width)
        keys = list(matrices)
        self._config[section] = {"available": keys, "immutable": keys, "mutable": []}
        return True


class Axis:
    """obs or var, read while it is written."""

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
        # Not if the engine stopped reading; it reports the reason itself.
        except (Exception, KeyboardInterrupt) as error:
            self.failure = error
            raise
