"""Writes a new version of a dataset from a handle: new columns and new matrices, which
become visible together."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from slaf import _slaf
from slaf.data.converter import SLAFConverter
from slaf.data.saving.changes import Change
from slaf.ground import metadata
from slaf.lazy.assigned import as_names
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.readers import AXES, InMemory
from slaf.lazy.reduce import csr_arrays
from slaf.lazy.sources import Held
from slaf.lazy.state import HandleState, raw_of
from slaf.lazy.stored_content import arrays_of, uns_of
from slaf.lazy.stream import rows_of_a_block

_TABLES = {"obs": "cells", "var": "genes", "obsm": "cells", "varm": "genes"}
_IDS = {"obs": "cell_id", "var": "gene_id"}


class Revision:
    """A new version that is being written."""

    def __init__(self, state: HandleState):
        self._state, self._dataset = state, state.dataset
        self._inner = _slaf.Revision(self._dataset.engine)
        self._config = copy.deepcopy(self._dataset.config)
        self._notes = self._config.setdefault("slaf", {})
        self._extras = dict(self._dataset.extras)
        self._extras_changed = False
        self._notices: dict[str, str] = {}
        #: The axes for which the notes of all columns are complete.
        self._complete: set[str] = set()
        #: Functions that write, called once everything has been checked.
        self._writes: list[Callable[[], None]] = []

    def of(self, found: dict[str, Change]) -> int:
        """Publishes the changes; returns the number of the version."""
        state, none = self._state, Change()
        for axis in ("obs", "var"):
            self._columns(axis, found.get(axis, none), found.get(f"{axis}m", none))
        self._layers(found.get("layers", none))
        for section in ("obsp", "varp"):
            self._graphs(section, found.get(section, none))
        self._uns(found.get("uns", none))
        if found.get("raw"):
            self._raw(state.content.raw)
        version = self._publish()
        self._settle(found)
        return version

    def _publish(self) -> int:
        if self._extras_changed:
            name = f"extras-{(self._dataset.version or 0) + 1}.h5"
            content = metadata.h5_bytes(self._extras)
            self._writes.append(lambda: self._inner.write_file(name, content))
            self._notes["extras"] = name
        for write in self._writes:
            write()
        metadata.warn_of(self._notices, stacklevel=5)
        return self._inner.publish(json.dumps(self._config), "save")

    def _settle(self, found: dict[str, Change]) -> None:
        """Makes the handle use its new version."""
        content = self._state.content
        content.dataset = dataset = self._dataset.newest()
        for key in found.get("layers", Change()).put:
            content.settled[key] = content.layers[key]
        for section, readers in arrays_of(dataset).items():
            for key in found.get(section, Change()).put:
                reader = content.arrays[section][key]
                # An array that is stored under another name stays in memory as it was set.
                if isinstance(reader, InMemory) and key in readers:
                    reader.of = readers[key]
        if found.get("raw") and content.raw is not None:
            content.raw = raw_of(dataset)

    def _columns(self, axis: str, frame: Change, arrays: Change) -> None:
        """Writes columns of obs or var, and their embeddings."""
        if not frame and not arrays:
            return
        new: dict[str, pa.Array] = {}
        gone = [*self._without_columns(axis, frame.gone), *self._without_vectors(axis, arrays.gone)]
        self._annotations(axis, frame.put, new)
        self._vectors(axis, arrays.put, new)
        if frame.renamed:
            index = as_names(self._state.names(axis == "var"))
            self._axis_notes(axis)["index_name"] = index.name
            new[_IDS[axis]] = pa.array(index.to_numpy(dtype=object), pa.string())
        if frame.moved:
            order = [str(name) for name in self._state.frame(axis).columns]
            self._axis_notes(axis)["columns"].sort(key=lambda note: order.index(note["name"]))
        table = _TABLES[axis]
        if gone:
            self._writes.append(lambda: self._inner.drop_columns(table, gone))
        if new:
            self._writes.append(lambda: self._inner.put(table, pa.table(new).to_reader()))

    def _axis_notes(self, axis: str) -> dict[str, Any]:
        """The notes of obs or var, for every existing column."""
        notes = self._notes.setdefault(axis, {"index_name": _IDS[axis]})
        if axis not in self._complete:
            self._complete.add(axis)
            notes["columns"] = copy.deepcopy(self._dataset.column_notes(axis))
        return notes

    def _without_columns(self, axis: str, names: list[str]) -> list[str]:
        """Removes columns; returns the names as which they were stored."""
        if not names:
            return []
        notes, gone = self._axis_notes(axis), []
        for name in names:
            note = next((n for n in notes["columns"] if n["name"] == name), None)
            if note is None:
                self._extras[axis] = self._extras[axis].drop(columns=name)
                self._extras_changed = True
                continue
            notes["columns"].remove(note)
            gone.append(note["stored"])
            self._unavailable(axis, note["stored"])
        return gone

    def _without_vectors(self, axis: str, keys: list[str]) -> list[str]:
        section, gone = f"{axis}m", []
        self._without_extras(section, keys)
        noted = self._vector_notes(axis) if keys else {}
        for key in keys:
            if key in noted:
                gone.append(noted.pop(key))
                self._unavailable(section, gone[-1])
        return gone

    def _without_extras(self, section: str, keys: list[str]) -> None:
        extra = self._extras.get(section, {})
        if any(key in extra for key in keys):
            self._extras[section] = {k: v for k, v in extra.items() if k not in keys}
            self._extras_changed = True

    def _vector_notes(self, axis: str) -> dict[str, str]:
        stored = {key: key for key in self._dataset.vector_columns(_TABLES[axis])}
        return self._notes.setdefault(f"{axis}m", stored)

    def _annotations(self, axis: str, names: list[str], new: dict[str, pa.Array]) -> None:
        if not names:
            return
        notes = self._axis_notes(axis)
        columns = self._state.columns(axis)
        for name in names:
            series = columns.read(name)
            (name,) = metadata.text_names([name], axis, self._notices)
            known = next((n for n in notes["columns"] if n["name"] == name), None)
            stored = known["stored"] if known else self._free(axis, name, new)
            new[stored], note = metadata.tried(series, f"{axis}/{name}", self._notices)
            note = {"name": name, "stored": stored} | note
            if known:
                notes["columns"][notes["columns"].index(known)] = note
            else:
                notes["columns"].append(note)
            self._available(axis, stored)
        entries = self._config.setdefault(f"{axis}_dtypes", {})
        entries.update(
            metadata.slafdb_dtypes(
                {"columns": [n for n in notes["columns"] if n["stored"] in new and "dtype" in n]}
            )
        )

    def _vectors(self, axis: str, keys: list[str], new: dict[str, pa.Array]) -> None:
        section = f"{axis}m"
        if not keys:
            return
        stored = self._vector_notes(axis)
        extra = dict(self._extras.get(section, {}))
        for key in keys:
            value = self._state.value(section, key)
            if not metadata.is_vector(value):
                beside = {section: {*extra, *stored, *keys} - {key}}
                extra |= metadata.h5_forms({section: {key: value}}, self._notices, beside)[section]
                self._extras_changed = True
                if key in stored:
                    self._unavailable(section, stored.pop(key))
                continue
            if extra.pop(key, None) is not None:
                self._extras_changed = True
            column = stored[key] if key in stored else self._free(axis, key, new)
            stored[key] = column
            flat = pa.array(np.ascontiguousarray(value).ravel(), from_pandas=False)
            new[column] = pa.FixedSizeListArray.from_arrays(flat, value.shape[1])
            self._available(section, column)
            self._config[section].setdefault("dimensions", {})[column] = value.shape[1]
        self._extras[section] = extra

    def _free(self, axis: str, name: str, new: dict[str, pa.Array]) -> str:
        taken = set(self._dataset.columns[_TABLES[axis]]) | new.keys()
        if metadata.free_name(name, ()) == name and self._give_way(axis, name, taken, new):
            return name
        return metadata.free_name(name, taken)

    def _give_way(self, axis: str, name: str, taken: set[str], new: dict[str, pa.Array]) -> bool:
        """Renames a column that uses the stored name `name` as a replacement; returns
        whether there was one."""
        section, columns = f"{axis}m", self._notes.get(axis, {}).get("columns", [])
        note = next((n for n in columns if n["stored"] == name != n["name"]), None)
        vectors = self._notes.get(section, {})
        key = next((k for k, stored in vectors.items() if stored == name != k), None)
        if note is None and key is None:
            return False
        other = metadata.free_name(key if note is None else note["name"], taken | {name})
        there = self._dataset.column(_TABLES[axis], name, None) if name not in new else None
        new[other] = new.pop(name) if there is None else there
        if note is not None:
            note["stored"] = other
        else:
            vectors[key] = other
        self._renamed(axis if key is None else section, name, other)
        return True

    def _renamed(self, section: str, old: str, new: str) -> None:
        """Renames columns in slafdb's part of the configuration."""
        entries = self._config.get(section, {})
        for names in (entries.get(kind, []) for kind in ("available", "immutable", "mutable")):
            names[:] = [new if name == old else name for name in names]
        for by_name in (entries.get("dimensions", {}), self._config.get(f"{section}_dtypes", {})):
            if old in by_name:
                by_name[new] = by_name.pop(old)

    def _layers(self, change: Change) -> None:
        layers = self._state.content.layers
        matrices = {key: layers[key] for key in change.put}
        self._without_extras("layers", [*change.put, *change.gone])
        self._without_pairs("layers", change.gone)
        if matrices:
            self._pairs("layers", matrices, self._state.shape[1], replace=False)

    def _graphs(self, section: str, change: Change) -> None:
        if not change:
            return
        readers, n = self._state.content.arrays[section], self._state.shape[AXES[section]]
        self._without_extras(section, [*change.put, *change.gone])
        self._without_pairs(section, change.gone)
        if not change.put:
            return
        # The table of graphs is rewritten: graphs are small, and share rows.
        kept = [key for key in self._dataset.keys(section) if key in readers]
        whole = {key: readers[key](range(n)) for key in dict.fromkeys([*kept, *change.put])}
        matrices = {key: MatrixPlan.of(Held(value)) for key, value in whole.items()}
        self._pairs(section, matrices, n, replace=True)

    def _without_pairs(self, section: str, keys: list[str]) -> None:
        """Removes matrices of a coordinate table."""
        gone = [key for key in keys if key in self._dataset.keys(section)]
        for key in gone:
            self._notes.get(section, {}).pop(key, None)
            self._unavailable(section, key)
        if gone:
            table = metadata.PAIRS[section].removesuffix(".lance")
            self._writes.append(lambda: self._inner.drop_columns(table, gone))

    def _pairs(
        self, section: str, matrices: dict[str, MatrixPlan], width: int, *, replace: bool
    ) -> None:
        for key in matrices:
            if not metadata.fits_pairs(key):
                raise ValueError(
                    f"{section}/{key}: a name in a dataset cannot have dots, or be that of a "
                    "column of the format. Choose another."
                )
        self._writes.append(lambda: self._write_pairs(section, matrices, width, replace=replace))

    def _write_pairs(
        self, section: str, matrices: dict[str, MatrixPlan], width: int, *, replace: bool
    ) -> None:
        wide = {key: not np.can_cast(m.dtype, np.float32) for key, m in matrices.items()}
        types = [(key, "float64" if wide[key] else "float32") for key in matrices]
        table = self._inner.begin_pairs(section, width, types, replace)
        height = next(iter(matrices.values())).shape[0]
        step = max(1, min(map(rows_of_a_block, matrices.values())) // len(matrices))
        for start in range(0, height, step):
            rows = range(start, min(start + step, height))
            blocks = []
            for matrix in matrices.values():
                indptr, indices, data = csr_arrays(matrix.at(rows, range(width)).compute())
                blocks.append((indptr.astype(np.int64), indices, data))
            refused = table.append(blocks)
            if refused is not None:
                raise _slaf.SlafError(
                    f"{section}/{list(matrices)[refused[0]]} holds {refused[3]}, which cannot be "
                    "stored exactly."
                )
        self._inner.end_pairs(table)
        folder = metadata.PAIRS[section]
        self._config.setdefault("tables", {}).setdefault(folder.removesuffix(".lance"), folder)
        noted = self._notes.setdefault(section, {})
        for key, matrix in matrices.items():
            noted[key] = {"dtype": matrix.dtype.name, "dense": matrix.was_dense}
            self._available(section, key)

    def _uns(self, change: Change) -> None:
        if not change:
            return
        uns = {k: v for k, v in uns_of(self._dataset).items() if k not in change.gone}
        found = metadata.h5_forms({"uns": self._state.content.uns}, self._notices)["uns"]
        self._extras["uns"] = uns | {key: found[key] for key in change.put}
        self._extras_changed = True
        content = metadata.uns_json(self._extras["uns"])
        self._writes.append(lambda: self._inner.write_file("uns.json", content))

    def _raw(self, raw: HandleState | None) -> None:
        """Writes raw as a dataset of its own inside."""
        self._notes.pop("raw_version", None)
        if raw is None:
            self._notes.pop("raw", None)
            return
        name, dataset = f"raw-{(self._dataset.version or 0) + 1}", self._dataset
        by_gene, _ = dataset.engine.companions()
        how = {"overwrite": True, "gene_index": by_gene, "storage_options": dataset.options}
        place, handle = f"{dataset.engine.uri}/{name}", LazyHandle.over(raw)
        self._writes.append(lambda: SLAFConverter().convert_handle(handle, place, **how))
        self._notes["raw"] = name

    def _unavailable(self, section: str, name: str) -> None:
        """Removes `name` from the lists in slafdb's part of the configuration."""
        entries = self._config.get(section, {})
        for names in (entries.get(kind, []) for kind in ("available", "immutable", "mutable")):
            names[:] = [other for other in names if other != name]
        for by_name in (entries.get("dimensions", {}), self._config.get(f"{section}_dtypes", {})):
            by_name.pop(name, None)

    def _available(self, section: str, name: str) -> None:
        """Adds `name` to the lists in slafdb's part of the configuration."""
        if section in _IDS and section not in self._config:
            return
        entries = self._config.setdefault(
            section, {"available": [], "immutable": [], "mutable": []}
        )
        for list_name in ("available", "mutable"):
            names = entries.setdefault(list_name, [])
            if name not in names and not (
                list_name == "mutable" and name in entries.get("immutable", [])
            ):
                names.append(name)
