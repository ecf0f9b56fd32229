"""Several inputs as one: cells below each other, genes aligned by what they are.

The files of a study differ in their genes and in their order, so that a gene
is never told by its position.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf import SlafError
from slaf.data.sources.base import (
    Block,
    Matrix,
    Parts,
    Source,
    SparseRows,
    frame_of,
    index_of,
    loaded,
)

if TYPE_CHECKING:
    import anndata


def many(sources: list[Source], *, join: str = "outer", unique_cells: bool = False) -> Source:
    """The cells of all sources, with the genes of all (`outer`) or the shared ones (`inner`).

    Genes are the same where their `gene_ids` are, or their names if a source
    has no such column. `unique_cells` appends `-1`, `-2` ... to the cell ids,
    by source.
    """
    if not sources:
        raise SlafError("There is no input to convert. Name one file or more.")
    if join not in ("outer", "inner"):
        raise SlafError(
            f"Genes cannot be joined by `{join}`. Say `outer` (the genes of all files) or `inner` "
            "(those in every file)."
        )
    together = _Together(sources, _distinct([s.name for s in sources]), join, unique_cells)
    return _source(together, _raw(sources, together))


def grown(old: Source, new: Source, *, join: str = "outer") -> Source:
    """`old` with the cells of `new` after its own, and with the genes that only
    `new` has after its own (`outer`) or without them (`left`). Whatever the two
    have both is `old`'s."""
    together = _Together([old, new], _distinct([old.name, new.name]), join, False, grown=True)
    return _source(together, _raw([old, new], together))


def _source(together: _Together, raw: Source | None = None) -> Source:
    sources, closing = together.sources, [s.close for s in together.sources]

    def close() -> None:
        for one in closing:
            one()

    prints = [s.fingerprint for s in sources]
    told = f"{together.join} {together.unique_cells} {prints} {together.names}"
    return Source(
        name=together.names[0] + (f" and {len(sources) - 1} more" if len(sources) > 1 else ""),
        x=_Stacked([s.x for s in sources], together),
        metadata=together.metadata,
        parts=together.parts,
        fingerprint=None if None in prints else hashlib.sha256(told.encode()).hexdigest(),
        counts=all(s.counts for s in sources),
        raw=raw,
        close=close,
    )


def _raw(sources: list[Source], together: _Together) -> Source | None:
    raws = [s.raw for s in sources]
    if None not in raws:
        return _source(replace(together, sources=raws, raw=True))
    if any(raw is not None for raw in raws):
        lacking = next(n for n, raw in zip(together.names, raws, strict=True) if raw is None)
        warnings.warn(
            f"`raw` is left out, since `{lacking}` has none. Remove it from the other files or "
            "add it to this one to have all files alike.",
            UserWarning,
            stacklevel=3,
        )
    return None


def _distinct(names: list[str]) -> list[str]:
    import anndata

    return anndata.utils.make_index_unique(pd.Index(names, dtype=object)).tolist()


@dataclass
class _Together:
    """Which cells and genes of the sources are which of the whole."""

    sources: list[Source]
    names: list[str]
    join: str
    unique_cells: bool
    #: Of raw, whose cells are those of the whole and have no names of their own.
    raw: bool = False
    #: Whether the first source stays as it is, and the others are added.
    grown: bool = False

    def __post_init__(self) -> None:
        parts = [s.rest() for s in self.sources]
        self._check_cells([index_of(part.obs) for part in parts])
        genes = [frame_of(part.var) for part in parts]
        del parts
        keys = self._keys(genes)
        union = pd.Index(np.concatenate([k.to_numpy(object) for k in keys])).unique()
        if self.join == "inner":
            everywhere = np.ones(len(union), bool)
            for key in keys:
                everywhere &= union.isin(key)
            if len(union) and not everywhere.any():
                raise SlafError(
                    "No gene is in every file, so that `inner` leaves nothing. See whether some "
                    "files name genes by id and others by symbol, or join by `outer`."
                )
            union = union[everywhere]
        elif self.join == "left":
            union = keys[0]
        #: Of each source the places of its genes in the whole; -1: left out.
        self.positions = [union.get_indexer(key) for key in keys]
        self.width = len(union)
        self.var = self._var(genes)

    def _check_cells(self, ids: list[pd.Index]) -> None:
        if self.unique_cells or self.raw:
            return
        number = np.repeat(np.arange(len(ids)), [len(i) for i in ids])
        cells = pd.DataFrame({"id": np.concatenate(ids), "file": number}).drop_duplicates()
        twice = cells["id"].duplicated()
        if twice.any():
            cell = cells["id"][twice].iloc[0]
            first, second = (self.names[n] for n in cells["file"][cells["id"] == cell][:2])
            raise SlafError(
                f"Cell `{cell}` is in `{first}` and in `{second}`. Append the number of its file "
                "to each cell's id (`unique_cells=True`, `--unique-cells`), or leave one file out."
            )

    def _keys(self, frames: list[pd.DataFrame]) -> list[pd.Index]:
        if all(
            "gene_ids" in var and var["gene_ids"].is_unique and var["gene_ids"].notna().all()
            for var in frames
        ):
            return [pd.Index(var["gene_ids"].astype(str), dtype=object) for var in frames]
        for name, var in zip(self.names, frames, strict=True):
            if not var.index.is_unique:
                raise SlafError(
                    f"`{name}` has the gene `{var.index[var.index.duplicated()][0]}` twice, so "
                    "that its genes cannot be told from those of the other files. Make the names "
                    "unique (`adata.var_names_make_unique()`), or give every file a column "
                    "`gene_ids` in var."
                )
        return [pd.Index(var.index, dtype=object) for var in frames]

    def _var(self, frames: list[pd.DataFrame]) -> pd.DataFrame:
        """Names and columns are those of the first source that has the gene."""
        import anndata

        #: Of each gene the first source that has it, and its row there.
        owner = np.full(self.width, -1)
        for number, places in reversed(list(enumerate(self.positions))):
            owner[places[places >= 0]] = number
        pieces, order = [], []
        for number, (var, places) in enumerate(zip(frames, self.positions, strict=True)):
            own = places >= 0
            own[own] = owner[places[own]] == number
            pieces.append(var[own])
            order.append(places[own])
        order = np.argsort(np.concatenate(order), kind="stable")
        names = pd.Index(np.concatenate([p.index.to_numpy(object) for p in pieces]))[order]
        columns = {}
        for column in dict.fromkeys(c for var in frames for c in var.columns):
            if not self.grown and not all(column in var for var in frames):
                continue
            parts = [p[column] if column in p else _missing(len(p)) for p in pieces]
            merged = _stack(parts).iloc[order].reset_index(drop=True)
            if self.grown or all(
                _equal(merged.iloc[places[places >= 0]], var[column][places >= 0])
                for var, places in zip(frames, self.positions, strict=True)
            ):
                columns[column] = merged.array
        unique = anndata.utils.make_index_unique(names)
        unique.name = frames[0].index.name
        return pd.DataFrame(columns, index=unique)

    def metadata(self) -> anndata.AnnData:
        return self._merged([s.metadata() for s in self.sources])

    def parts(self) -> Parts | anndata.AnnData:
        """The layers that are left where they are until they are written: sparse
        ones that every source has. What `anndata.concat` fills the others with
        is its affair."""
        found = [s.rest() for s in self.sources]
        keys = [key for key in found[0].layers if key is not None]
        layers = {key: [part.layers.get(key) for part in found] for key in keys}
        alike = all({k for k in part.layers if k is not None} == set(keys) for part in found)
        if not alike or not all(map(_sparse, chain.from_iterable(layers.values()))):
            return self.metadata()
        merged = self._merged([_without_layers(part) for part in found])
        return Parts(
            obs=merged.obs,
            var=merged.var,
            obsm=merged.obsm,
            varm=merged.varm,
            layers={k: _Stacked([_rows_of(x) for x in v], self) for k, v in layers.items()},
            uns=merged.uns,
        )

    def _merged(self, wholes: list[Parts | anndata.AnnData]) -> anndata.AnnData:
        import anndata

        parts = [self._part(number, whole) for number, whole in enumerate(wholes)]
        label = {"label": "source_file", "keys": self.names} if not self.raw else {}
        join = "inner" if self.join == "inner" else "outer"
        merge = {"merge": "first", "uns_merge": "first"} if self.grown else _SAME
        merged = anndata.concat(parts, join=join, **merge, **label)
        # The genes go by their places in the whole until here.
        if not merged.var_names.is_monotonic_increasing:
            merged = merged[:, np.argsort(merged.var_names)].copy()
        merged.var = self.var.copy()
        if self.join == "inner":  # of genes: no cell's column is left out
            merged.obs = anndata.concat(
                [anndata.AnnData(obs=part.obs) for part in parts], join="outer", **label
            ).obs
        if self.grown and "source_file" in parts[0].obs:
            known = parts[0].obs["source_file"].astype(object)
            merged.obs["source_file"] = pd.Categorical(
                [*known, *merged.obs["source_file"].iloc[len(known) :]]
            )
        return merged

    def _part(self, number: int, whole: Parts | anndata.AnnData) -> anndata.AnnData:
        """The metadata of one source, with genes that `anndata.concat` can align."""
        import anndata

        places = self.positions[number]
        kept = places >= 0
        obs = frame_of(whole.obs)
        cells = obs.index.astype(str)
        if self.raw or self.unique_cells:
            cells = cells + f"-{number + 1}"
        genes = pd.Index([f"{place:010}" for place in places[kept]], dtype=object)

        def named(value: Any, index: pd.Index) -> Any:
            return value.set_axis(index) if isinstance(value, pd.DataFrame) else value

        return anndata.AnnData(
            obs=pd.DataFrame(index=cells) if self.raw else obs.set_axis(cells),
            var=pd.DataFrame(index=genes),
            obsm={k: named(loaded(v), cells) for k, v in whole.obsm.items()},
            varm={k: named(loaded(v)[kept], genes) for k, v in whole.varm.items()},
            # anndata 0.13 calls X a layer, without a name.
            layers={
                k: v if kept.all() else v[:, kept] for k, v in whole.layers.items() if k is not None
            },
            uns=dict(whole.uns),
        )


_SAME = {"merge": "same", "uns_merge": "same"}


def _without_layers(whole: Parts | anndata.AnnData) -> Parts:
    names = ("obs", "var", "obsm", "varm", "uns")
    return Parts(**{name: getattr(whole, name) for name in names})


def _sparse(layer: Any) -> bool:
    if isinstance(layer, Matrix):
        return layer.note["encoding"] != "dense"
    return sparse.issparse(layer) and layer.dtype.kind in "biuf"


def _rows_of(layer: Any) -> Matrix:
    return layer if isinstance(layer, Matrix) else SparseRows(layer.tocsr(), layer.shape)


def _missing(length: int) -> pd.Series:
    return pd.Series([np.nan] * length, dtype=object)


def _stack(columns: list[pd.Series]) -> pd.Series:
    """Columns below each other; categories are united."""
    from pandas.api.types import union_categoricals

    columns = [column for column in columns if len(column)] or columns[:1]
    if all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
        if any(column.dtype != columns[0].dtype for column in columns):
            return pd.Series(union_categoricals(columns, ignore_order=True))
    return pd.concat(columns, ignore_index=True)


def _equal(left: pd.Series, right: pd.Series) -> bool:
    left, right = left.astype(object).to_numpy(), right.astype(object).to_numpy()
    missing = pd.isna(left)
    return bool((missing == pd.isna(right)).all() and (left[~missing] == right[~missing]).all())


class Aligned:
    """A matrix whose gene `i` is gene `positions[i]` of `width`; -1: left out."""

    def __init__(self, x: Matrix, positions: np.ndarray, width: int, name: str):
        self.name = name
        self.shape, self.note, self.x = (x.shape[0], width), x.note, x
        self.positions = positions.astype(np.int32)
        kept = positions[positions >= 0]
        self._all = len(kept) == len(positions)
        self._ascending = bool((np.diff(kept) > 0).all())
        self._same = self._all and bool((kept == np.arange(len(kept))).all())
        self.nnz = x.nnz if self._all else None

    def blocks(self, start: int = 0) -> Iterator[Block]:
        for block in self.x.blocks(start):
            yield block if self._same else self._aligned(*block)

    def _aligned(self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> Block:
        bound = len(self.positions)
        if len(indices) and (indices.min() < 0 or indices.max() >= bound):
            raise SlafError(
                f"`{self.name}` is damaged: a value of X is of no gene, of the {bound} that there "
                "are. Copy the file anew."
            )
        indptr, genes = indptr - indptr[0], self.positions[indices]
        if not self._all:
            kept = genes >= 0
            behind = np.concatenate(([0], np.cumsum(kept)))
            indptr, genes, data = behind[indptr], genes[kept], data[kept]
        if not self._ascending:
            row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
            if ((row[1:] == row[:-1]) & (genes[1:] < genes[:-1])).any():
                order = np.lexsort((genes, row))
                genes, data = genes[order], data[order]
        return indptr, genes, data


class _Stacked:
    """The matrices of all sources, one after the other."""

    def __init__(self, matrices: list[Matrix], together: _Together):
        self.parts = [
            Aligned(x, places, together.width, name)
            for x, places, name in zip(matrices, together.positions, together.names, strict=True)
        ]
        self.shape = (sum(x.shape[0] for x in matrices), together.width)
        absent = [x.note["encoding"] == "absent" for x in matrices]
        self.note = dict(matrices[0].note)
        if not all(absent):
            if any(absent):
                raise SlafError(
                    f"`{together.names[absent.index(True)]}` has no X, and other files have one. "
                    "Leave it out or give it an X."
                )
            dtype = np.result_type(*(np.dtype(x.note["dtype"]) for x in matrices))
            self.note = {"dtype": dtype.name, "encoding": "csr"}
        stored = [part.nnz for part in self.parts]
        self.nnz = None if None in stored else sum(stored)

    def blocks(self, start: int = 0) -> Iterator[Block]:
        for part in self.parts:
            if start < part.shape[0]:
                yield from part.blocks(max(start, 0))
            start -= part.shape[0]
