"""What was set in a handle, into its dataset: columns beside columns and
matrices beside matrices, all visible at once as a new version."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf import _metadata, _slaf
from slaf.data import _write
from slaf.lazy.content import AXES
from slaf.lazy.reduce import csr_arrays
from slaf.lazy.sources import Held
from slaf.lazy.stream import rows_of_a_block

if TYPE_CHECKING:
    from slaf.lazy.handle import LazyAnnData
    from slaf.lazy.matrix import LazyExpressionMatrix

_SECTIONS = ("obs", "var", "obsm", "varm", "layers", "obsp", "varp", "uns")
_TABLES = {"obs": "cells", "var": "genes", "obsm": "cells", "varm": "genes"}
_IDS = {"obs": "cell_id", "var": "gene_id"}


def save(handle: LazyAnnData, sections: dict[str, Any]) -> int:
    """See :meth:`LazyAnnData.save`."""
    unknown = sections.keys() - set(_SECTIONS)
    if unknown:
        raise TypeError(
            f"save() stores {', '.join(_SECTIONS)}, and knows no {', '.join(sorted(unknown))}."
        )
    if not handle._is_whole:
        raise ValueError(
            "Only a handle of all cells and genes, in their order, can be saved into its dataset. "
            "Write this one to a dataset of its own: "
            "`SLAFConverter().convert_handle(handle, 'new.slaf')`."
        )
    chosen = {
        section: _names(handle, section, wanted)
        for section, wanted in (sections or dict.fromkeys(_SECTIONS, True)).items()
    }
    revision = _Revision(handle)
    for axis in ("obs", "var"):
        revision.columns(axis, chosen.get(axis, []), chosen.get(f"{axis}m", []))
    revision.layers(chosen.get("layers", []))
    for section in ("obsp", "varp"):
        revision.graphs(section, chosen.get(section, []))
    revision.uns(chosen.get("uns", []))
    version = revision.publish()
    for section, names in chosen.items():
        handle._content.fresh[section].difference_update(names)
    return version


def _names(handle: LazyAnnData, section: str, wanted: bool | Iterable[str]) -> list[str]:
    there = list(getattr(handle, section).keys())
    if wanted is True:
        fresh = set(handle._content.fresh[section])
        if section in _IDS:
            # pandas may have added columns by itself.
            fresh |= set(there) - {note["name"] for note in handle.slaf._note_columns(section)}
        return [name for name in there if name in fresh]
    names = [wanted] if isinstance(wanted, str) else list(wanted or [])
    for name in names:
        if name not in there:
            near = _slaf.nearest(str(name), [str(n) for n in there])
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise ValueError(f"{section} has no {name!r} to save.{hint}")
    return names


class _Revision:
    """A new version in the making."""

    def __init__(self, handle: LazyAnnData):
        self._handle, self._array = handle, handle.slaf
        self._inner = _slaf.Revision(self._array._dataset)
        self._config = copy.deepcopy(self._array.config)
        self._notes = self._config.setdefault("slaf", {})
        self._extras = dict(self._array._extras)
        self._extras_changed = False

    def publish(self) -> int:
        array = self._array
        if self._extras_changed:
            name = f"extras-{(array.version or 0) + 1}.h5"
            self._inner.write_file(name, _write._h5(self._extras))
            self._notes["extras"] = name
        version = self._inner.publish(json.dumps(self._config), "save")
        self._handle._content.array = type(array)._of(array._dataset.newest())
        return version

    def columns(self, axis: str, names: list[str], arrays: list[str]) -> None:
        """Columns of obs or var, and their embeddings."""
        if not names and not arrays:
            return
        new: dict[str, pa.Array] = {}
        self._annotations(axis, names, new)
        self._vectors(axis, arrays, new)
        if new:
            self._inner.put(_TABLES[axis], pa.table(new).to_reader())

    def _annotations(self, axis: str, names: list[str], new: dict[str, pa.Array]) -> None:
        if not names:
            return
        notes = self._notes.get(axis)
        if notes is None:
            columns = [{**n, "stored": n["name"]} for n in self._array._note_columns(axis)]
            notes = {"index_name": _IDS[axis], "columns": columns}
            self._notes[axis] = notes
        frame = getattr(self._handle, axis)
        for name in names:
            known = next((n for n in notes["columns"] if n["name"] == name), None)
            stored = known["stored"] if known else self._free(axis, name, new)
            new[stored], note = _metadata.encode_column(frame[name])
            note = {"name": name, "stored": stored} | note
            if known:
                notes["columns"][notes["columns"].index(known)] = note
            else:
                notes["columns"].append(note)
            self._available(axis, stored)
        told = self._config.setdefault(f"{axis}_dtypes", {})
        told.update(
            _metadata.slafdb_dtypes(
                {"columns": [n for n in notes["columns"] if n["stored"] in new and "dtype" in n]}
            )
        )

    def _vectors(self, axis: str, keys: list[str], new: dict[str, pa.Array]) -> None:
        section = f"{axis}m"
        if not keys:
            return
        stored = self._notes.setdefault(
            section, {key: key for key in self._array._vectors(_TABLES[axis])}
        )
        extra = dict(self._extras.get(section, {}))
        for key in keys:
            value = getattr(self._handle, section)[key]
            if not _write.is_vector(value):
                extra[key] = value
                self._extras_changed = True
                continue
            if extra.pop(key, None) is not None:
                self._extras_changed = True
            column = stored.setdefault(key, self._free(axis, key, new))
            flat = pa.array(np.ascontiguousarray(value).ravel(), from_pandas=False)
            new[column] = pa.FixedSizeListArray.from_arrays(flat, value.shape[1])
            self._available(section, column)
            self._config[section].setdefault("dimensions", {})[column] = value.shape[1]
        self._extras[section] = extra

    def _free(self, axis: str, name: str, new: dict[str, pa.Array]) -> str:
        taken = set(self._array._columns[_TABLES[axis]]) | new.keys()
        return _metadata.free_name(str(name), _metadata.RESERVED | taken)

    def layers(self, keys: list[str]) -> None:
        matrices = {key: self._handle._content.layers[key] for key in keys}
        if matrices:
            self._write_pairs("layers", matrices, self._handle.n_vars, replace=False)

    def graphs(self, section: str, keys: list[str]) -> None:
        if not keys:
            return
        from slaf.lazy.matrix import LazyExpressionMatrix

        there = getattr(self._handle, section)
        # The table of graphs is written anew: they are small, and share rows.
        kept = [key for key in self._array._keys(section) if key in there.keys()]
        whole = {key: there[key] for key in dict.fromkeys([*kept, *keys])}
        matrices = {key: LazyExpressionMatrix._of(Held(value)) for key, value in whole.items()}
        n = self._handle.shape[AXES[section]]
        self._write_pairs(section, matrices, n, replace=True)

    def _write_pairs(
        self, section: str, matrices: dict[str, LazyExpressionMatrix], width: int, *, replace: bool
    ) -> None:
        for key in matrices:
            if "." in key or key in _metadata.RESERVED:
                raise ValueError(f"{section}/{key}: a dataset takes no name with dots.")
        wide = {key: m.dtype.itemsize > 4 or m.dtype.name == "int32" for key, m in matrices.items()}
        types = [(key, "float64" if wide[key] else "float32") for key in matrices]
        table = self._inner.begin_pairs(section, width, types, replace)
        height = next(iter(matrices.values())).shape[0]
        step = max(1, min(map(rows_of_a_block, matrices.values())) // len(matrices))
        for start in range(0, height, step):
            rows = range(start, min(start + step, height))
            blocks = []
            for matrix in matrices.values():
                indptr, indices, data = csr_arrays(matrix._at(rows, range(width)).compute())
                blocks.append((indptr.astype(np.int64), indices, data))
            refused = table.append(blocks)
            if refused is not None:
                raise _slaf.SlafError(
                    f"{section}/{list(matrices)[refused[0]]} holds {refused[3]}, which cannot be "
                    "stored exactly."
                )
        self._inner.end_pairs(table)
        folder = _write._PAIRS[section]
        self._config.setdefault("tables", {}).setdefault(folder.removesuffix(".lance"), folder)
        noted = self._notes.setdefault(section, {})
        for key, matrix in matrices.items():
            noted[key] = {"dtype": matrix.dtype.name, "dense": matrix._was_dense}
            self._available(section, key)

    def uns(self, keys: list[str]) -> None:
        if not keys:
            return
        self._extras["uns"] = dict(self._handle._content.uns)
        self._extras_changed = True
        self._inner.write_file("uns.json", _write.uns_json(self._extras["uns"]))

    def _available(self, section: str, name: str) -> None:
        """Says in slafdb's part of the configuration that `name` is there."""
        if section in _IDS and section not in self._config:
            return
        told = self._config.setdefault(section, {"available": [], "immutable": [], "mutable": []})
        for list_name in ("available", "mutable"):
            names = told.setdefault(list_name, [])
            if name not in names and not (
                list_name == "mutable" and name in told.get("immutable", [])
            ):
                names.append(name)
