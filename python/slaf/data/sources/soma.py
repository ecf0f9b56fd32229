"""TileDB-SOMA experiments.

tiledbsoma's own `to_anndata` holds X in memory, and assumes that cells are numbered
without gaps. That is wrong once cells were deleted. So arrays are read here by the
`soma_joinid` of their rows, and X in ranges of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf._slaf import SlafError
from slaf.data.sources.base import BLOCK_VALUES, Block, Source, fingerprint, plain

if TYPE_CHECKING:
    import anndata

#: Metadata keys for the original index of a table and for the types in `uns`.
_INDEX_NOTE = "soma_dataframe_original_index_name"
_UNS_NOTE = "soma_uns_outgest_hint"


def is_soma(path: str | Path) -> bool:
    """Whether a local folder is a TileDB group with the parts of an experiment."""
    folder = Path(path)
    return (folder / "__group").is_dir() and (folder / "ms").is_dir() and (folder / "obs").is_dir()


def soma_source(uri: str | Path, *, measurement: str = "RNA", layer: str = "data") -> Source:
    """A source for the X `layer` of a measurement in an experiment; all other layers
    become layers."""
    uri = str(uri)
    tiledbsoma, experiment = _opened(uri)
    try:
        if not isinstance(experiment, tiledbsoma.Experiment):
            raise SlafError(
                f"`{uri}` is a {type(experiment).__name__} of TileDB-SOMA. "
                "Name the experiment that it is part of."
            )
        part = _pick(experiment.ms, measurement, f"`{uri}` has no measurement", "measurement")
        arrays = part["X"] if "X" in part else {}
        x = _pick(arrays, layer, f"Measurement `{measurement}` of `{uri}` has no layer", "layer")
        obs, cells = _frame(experiment.obs, "obs_id")
        var, genes = _frame(part["var"], "var_id")
        rows = _SomaRows(uri, x, cells, genes)
    except BaseException as error:
        experiment.close()
        if isinstance(error, tiledbsoma.SOMAError):
            raise _damaged(uri, error) from None
        raise

    def metadata() -> anndata.AnnData:
        import anndata

        try:
            return anndata.AnnData(
                obs=obs.copy(),
                var=var.copy(),
                obsm=_arrays(part, "obsm", cells),
                varm=_arrays(part, "varm", genes),
                obsp=_arrays(part, "obsp", cells, cells),
                varp=_arrays(part, "varp", genes, genes),
                layers=_arrays(part, "X", cells, genes, without=layer),
                uns=_uns(part["uns"]) if "uns" in part else {},
            )
        except tiledbsoma.SOMAError as error:
            raise _damaged(uri, error) from None

    def first() -> anndata.AnnData:
        import anndata

        # SOMA's arrays are numeric.
        uns = _uns(part["uns"]) if "uns" in part else {}
        return anndata.AnnData(obs=obs.iloc[:64].copy(), var=var.copy(), uns=uns)

    return Source(
        name=Path(uri).name,
        x=rows,
        metadata=metadata,
        first=first,
        fingerprint=_fingerprint(uri, measurement, layer),
        close=experiment.close,
    )


def _opened(uri: str) -> tuple[Any, Any]:
    """The package, and the opened experiment at `uri`."""
    try:
        import tiledbsoma
    except ImportError:
        raise SlafError(
            f"`{uri}` is a TileDB-SOMA experiment, and the package that reads it is not "
            "installed. Install it (`pip install tiledbsoma`)."
        ) from None
    try:
        return tiledbsoma, tiledbsoma.open(uri)
    except Exception as error:  # its class depends on the version of tiledbsoma
        raise SlafError(
            f"`{uri}` cannot be opened as a TileDB-SOMA experiment ({_brief(error)}). "
            "Check that the address is right and the copy is complete."
        ) from None


def _pick(collection: Any, key: str, lacks: str, what: str) -> Any:
    if key in collection:
        return collection[key]
    names = ", ".join(f"`{name}`" for name in collection)
    raise SlafError(f"{lacks} `{key}`. It has {names or f'no {what} at all'}.")


def _fingerprint(uri: str, measurement: str, layer: str) -> str | None:
    """The fingerprint of a local experiment: TileDB writes every change as new files."""
    folder = Path(uri.removeprefix("file://"))
    if not folder.is_dir():
        return None
    files = fingerprint(*sorted(path for path in folder.rglob("*") if path.is_file()))
    return f"{files} {measurement} {layer}"


def _frame(table: Any, id_column: str) -> tuple[pd.DataFrame, np.ndarray]:
    """obs or var as it was before SOMA, and the ascending joinids of its rows."""
    frame = table.read().concat().to_pandas()
    frame = frame.sort_values("soma_joinid", kind="stable", ignore_index=True)
    ids = frame.pop("soma_joinid").to_numpy(np.int64)
    original = json.loads(table.metadata.get(_INDEX_NOTE, "null"))
    if original is not None and original in frame:
        frame = frame.set_index(original)
    elif id_column in frame:
        frame = frame.set_index(id_column).rename_axis(None)
    else:
        frame.index = pd.Index(ids.astype(str), dtype=object)
    frame.index = frame.index.astype(str)
    return frame, ids


def _places(joinids: Any, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of `joinids`, and which of the `joinids` have a row."""
    joinids = joinids.to_numpy()
    places = np.searchsorted(ids, joinids)
    found = places < len(ids)
    found[found] = ids[places[found]] == joinids[found]
    return places, found


def _read(
    array: Any, coords: tuple, rows: np.ndarray, columns: np.ndarray | None, shape: tuple
) -> sparse.csr_matrix:
    """A part of a sparse array, at the positions of its joinids."""
    table = array.read(coords=coords).tables().concat()
    row, kept = _places(table["soma_dim_0"], rows)
    column = table["soma_dim_1"].to_numpy()
    if columns is not None:
        column, known = _places(table["soma_dim_1"], columns)
        kept &= known
    data = table["soma_data"].to_numpy()
    return sparse.csr_matrix((data[kept], (row[kept], column[kept])), shape=shape)


def _arrays(
    part: Any,
    section: str,
    of: np.ndarray,
    across: np.ndarray | None = None,
    *,
    without: str | None = None,
) -> dict[str, Any]:
    """All arrays of a section, except one."""
    found = part[section] if section in part else {}
    return {key: _array(found[key], of, across) for key in found if key != without}


def _array(array: Any, ids: np.ndarray, across: np.ndarray | None) -> Any:
    """An array by cells or genes; without `across`, its columns are not joinids."""
    if hasattr(array, "nnz"):
        width = array.shape[1] if across is None else len(across)
        whole = _read(array, (slice(None),), ids, across, (len(ids), width))
        return whole.toarray() if across is None else whole
    values = array.read().to_numpy()[ids]
    return values if across is None else values[:, across]


def _uns(collection: Any) -> dict[str, Any]:
    """Nested collections, with plain values in their metadata."""
    found: dict[str, Any] = {}
    for key in collection:
        element = collection[key]
        kind = element.soma_type
        if kind == "SOMACollection":
            found[key] = _uns(element)
        elif kind == "SOMADataFrame":
            frame = element.read().concat().to_pandas().drop(columns="soma_joinid")
            hint = element.metadata.get(_UNS_NOTE)
            if hint == "array_1d":
                found[key] = np.asarray(frame["values"].tolist())
            elif hint == "array_2d":
                columns = [frame[f"values_{i}"].tolist() for i in range(frame.shape[1])]
                found[key] = np.asarray(columns).transpose()
            else:
                original = json.loads(element.metadata.get(_INDEX_NOTE, "null"))
                name = original or "index"
                if name in frame:
                    frame = frame.set_index(name).rename_axis(original)
                found[key] = frame
        elif kind == "SOMADenseNDArray":
            found[key] = element.read().to_numpy()
        elif kind == "SOMASparseNDArray":
            found[key] = element.read().tables().concat().to_pandas()
    own = {k: v for k, v in collection.metadata.items() if not k.startswith("soma_")}
    return found | own


class _SomaRows:
    """X of an experiment, in ranges of the cells' joinids."""

    def __init__(self, uri: str, array: Any, cells: np.ndarray, genes: np.ndarray):
        self.uri, self.array, self.cells, self.genes = uri, array, cells, genes
        self.shape = (len(cells), len(genes))
        self.nnz: int | None = array.nnz if hasattr(array, "nnz") else None
        dtype = np.dtype(array.schema.field("soma_data").type.to_pandas_dtype())
        if dtype.kind not in "biuf":
            raise SlafError(f"X of `{uri}` holds {dtype}, and only real numbers can be stored.")
        encoding = "dense" if self.nnz is None else "csr"
        self.note = {"dtype": dtype.name, "encoding": encoding}

    def blocks(self, start: int = 0) -> Iterator[Block]:
        height, width = self.shape
        a_row = width if self.nnz is None else -(-self.nnz // max(1, height))
        step = max(1, BLOCK_VALUES // max(1, a_row))
        for row in range(start, height, step):
            cells = self.cells[row : row + step]
            # SOMA's ranges include their ends.
            joinids = slice(int(cells[0]), int(cells[-1]))
            try:
                if self.nnz is None:
                    values = self.array.read((joinids, slice(None))).to_numpy()
                    block = sparse.csr_matrix(values[cells - cells[0]][:, self.genes])
                else:
                    shape = (len(cells), width)
                    block = _read(self.array, (joinids,), cells, self.genes, shape)
            except (RuntimeError, OSError) as error:
                raise _damaged(self.uri, error) from None
            block.sort_indices()
            yield block.indptr.astype(np.int64), block.indices, plain(block.data)


def _damaged(uri: str, error: BaseException) -> SlafError:
    return SlafError(
        f"`{uri}` cannot be read ({_brief(error)}): it is damaged or not complete. Copy it again."
    )


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 160 else f"{text[:157]}..."
