"""Joins several inputs: their cells one after the other, their genes matched by id.

The files of a study differ in their genes and in the order of genes, so a gene is never
identified by its position."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse

from slaf._slaf import SlafError
from slaf.data.sources.base import Matrix, Parts, Source, SparseRows, in_memory, loaded, whole
from slaf.data.sources.joined_columns import alike, below
from slaf.data.sources.joined_frames import JoinedColumns
from slaf.data.sources.joined_matrices import Stacked, diagonal
from slaf.data.sources.stacked_rows import stacked_vectors
from slaf.ground.metadata import TEXT
from slaf.ground.metadata.frames import Columns, frame_of, rows_between, texts_of

if TYPE_CHECKING:
    import anndata


def many(sources: list[Source], *, join: str = "outer", unique_cells: bool = False) -> Source:
    """The cells of all sources, with all genes (`outer`) or the shared ones (`inner`).

    Genes are the same if their `gene_ids` are; if a source has no such column, if their
    names are. `unique_cells` appends `-1`, `-2`, ... to the cell ids, by source.
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
    """`old` followed by the cells of `new`. Genes that only `new` has follow those of
    `old` (`outer`) or are left out (`left`). If both have a value, that of `old` is
    used."""
    together = _Together([old, new], _distinct([old.name, new.name]), join, False, grown=True)
    return _source(together, _raw([old, new], together))


def _source(together: _Together, raw: Source | None = None) -> Source:
    sources, closing = together.sources, [s.close for s in together.sources]

    def close() -> None:
        for one in closing:
            one()

    prints = [s.fingerprint for s in sources]
    identity = f"{together.join} {together.unique_cells} {prints} {together.names}"
    return Source(
        name=together.names[0] + (f" and {len(sources) - 1} more" if len(sources) > 1 else ""),
        x=together.stacked([s.x for s in sources]),
        metadata=lambda: in_memory(together.parts()),
        parts=together.parts,
        fingerprint=None if None in prints else hashlib.sha256(identity.encode()).hexdigest(),
        counts=all(s.counts for s in sources),
        raw=raw,
        close=close,
        inputs=sources,
        source_column=together.label,
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
    """Maps the cells and genes of the sources to those of the whole."""

    sources: list[Source]
    names: list[str]
    join: str
    unique_cells: bool
    #: Whether this is raw, whose cells are those of the whole and have no names.
    raw: bool = False
    #: Whether the first source stays as it is and the others are appended.
    grown: bool = False

    def __post_init__(self) -> None:
        parts = [s.rest() for s in self.sources]
        self._check_cells([part.obs for part in parts])
        self._check_kinds([part.obsm for part in parts])
        #: The column that records the input of each cell.
        self.label = None if self.raw else self._free([_names(part.obs) for part in parts])
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
                    "No gene is in every file, so `inner` leaves nothing. Check whether some "
                    "files name genes by id and others by symbol, or join by `outer`."
                )
            union = union[everywhere]
        elif self.join == "left":
            union = keys[0]
        #: For each source, the positions of its genes in the whole; -1 for genes that
        #: are left out.
        self.positions = [union.get_indexer(key) for key in keys]
        self.width = len(union)
        self.var = self._var(alike(genes, self.names, "raw/var" if self.raw else "var"))

    def _check_cells(self, cells: list[pd.DataFrame | Columns]) -> None:
        if self.unique_cells or self.raw:
            return
        ids = [texts_of(frame) for frame in cells]
        every = pl.concat(ids)
        rows = every.is_duplicated().arg_true().to_numpy()
        number = np.repeat(np.arange(len(ids)), [len(i) for i in ids])[rows]
        found = pd.DataFrame({"id": every[rows].to_numpy(), "file": number}).drop_duplicates()
        twice = found["id"].duplicated()
        if twice.any():
            cell = found["id"][twice].iloc[0]
            first, second = (self.names[n] for n in found["file"][found["id"] == cell][:2])
            raise SlafError(
                f"Cell `{cell}` is in `{first}` and in `{second}`. Append the number of its file "
                "to each cell's id (`unique_cells=True`, `--unique-cells`), or leave one file out."
            )

    def _check_kinds(self, found: list[Mapping[str, Any]]) -> None:
        for key in dict.fromkeys(key for obsm in found for key in obsm):
            kinds: dict[str, str] = {}
            for name, obsm in zip(self.names, found, strict=True):
                if key in obsm:
                    table = isinstance(obsm[key], pd.DataFrame)
                    kinds.setdefault("a table" if table else "an array", name)
            if len(kinds) > 1 and (self.join != "inner" or all(key in obsm for obsm in found)):
                listed = " and ".join(f"{kind} in `{name}`" for kind, name in kinds.items())
                raise SlafError(
                    f"`obsm/{key}` is {listed}, and these cannot be joined. Bring it to one kind, "
                    "or delete it from one of them."
                )

    def _free(self, columns: list[list[str]]) -> str:
        """`source_file`, or another name if the inputs already have that column."""
        ours = [source.source_column if self.grown else None for source in self.sources]
        every = zip(columns, ours, strict=True)
        theirs = {name for names, our in every for name in names if name != our}
        number, name = 0, ours[0] or _LABEL
        while name in theirs:
            number += 1
            name = f"{_LABEL}_{number}"
        if name != _LABEL and name not in ours:
            warnings.warn(
                f"obs has a column `{_LABEL}` of its own, which is kept; `{name}` says which file "
                "a cell is from.",
                UserWarning,
                stacklevel=2,
            )
        return name

    def stacked(self, matrices: list[Matrix]) -> Stacked:
        return Stacked(matrices, self.positions, self.width, self.names)

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
                    "its genes cannot be matched with those of the other files. Make the names "
                    "unique (`adata.var_names_make_unique()`), or give every file a column "
                    "`gene_ids` in var."
                )
        return [pd.Index(var.index, dtype=object) for var in frames]

    def _var(self, frames: list[pd.DataFrame]) -> pd.DataFrame:
        """Names and columns come from the first source that has the gene."""
        import anndata

        #: For each gene, the first source that has it, and its row there.
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
            parts = [p[column] if column in p else None for p in pieces]
            merged = below(parts, list(map(len, pieces))).iloc[order].reset_index(drop=True)
            if self.grown or all(
                _equal(merged.iloc[places[places >= 0]], var[column][places >= 0])
                for var, places in zip(frames, self.positions, strict=True)
            ):
                columns[column] = merged.array
        unique = anndata.utils.make_index_unique(names)
        unique.name = frames[0].index.name
        return pd.DataFrame(columns, index=unique)

    def parts(self) -> Parts:
        """Columns of obs that are alike, sparse layers, graphs and vectors stay in their
        files until they are written. `anndata.concat` joins everything else."""
        found = [s.rest() for s in self.sources]
        shared = self._shared([p.layers for p in found])
        layers = {key: self._layer([p.layers.get(key) for p in found]) for key in shared}
        rest = {key for key, layer in layers.items() if layer is None}
        vectors = stacked_vectors([p.obsm for p in found])
        cells = self._cells([p.obs for p in found])
        # Names of cells are needed for what is joined in memory.
        named = bool(rest) or any(key not in vectors for p in found for key in p.obsm)
        left = [self._part(n, part, rest, set(vectors), named) for n, part in enumerate(found)]
        merged = self._merged(left)
        return Parts(
            obs=cells,
            var=merged.var,
            obsm={**vectors, **merged.obsm},
            varm=merged.varm,
            layers={k: merged.layers[k] if x is None else x for k, x in layers.items()},
            obsp=self._graphs([p.obsp for p in found]),
            varp=merged.varp,
            uns=merged.uns,
        )

    def _cells(self, found: list[pd.DataFrame | Columns]) -> JoinedColumns:
        """obs of all inputs."""
        numbered = self.raw or self.unique_cells
        suffixes = [f"-{n + 1}" if numbered else "" for n in range(len(found))]
        if self.raw:
            return JoinedColumns(found, self.names, suffixes, {}, [None] * len(found))
        ours = [source.source_column if self.grown else None for source in self.sources]
        left_out = [None if name == self.label else name for name in ours]
        instead = {self.label: pd.Series(self._labels(found))}
        return JoinedColumns(found, self.names, suffixes, instead, left_out)

    def _labels(self, found: list[pd.DataFrame | Columns]) -> pd.Categorical:
        """The file of each cell: as the inputs record it, or the name of its input."""
        pieces = []
        for source, name, frame in zip(self.sources, self.names, found, strict=True):
            if self.grown and source.source_column:
                column = dict(frame.items())[source.source_column]
                texts = rows_between(column, 0, len(column)).astype(TEXT)
                pieces.append(pd.Categorical(texts))
            else:
                one = pd.Categorical([name], pd.Index([name], dtype=TEXT))
                pieces.append(one.repeat(source.x.shape[0]))
        return pd.api.types.union_categoricals(pieces, ignore_order=True)

    def _shared(self, found: list[Mapping[str, Any]]) -> list[str]:
        """The names of the entries that are joined."""
        names = dict.fromkeys(name for section in found for name in section if name is not None)
        if self.join != "inner":
            return list(names)
        return [name for name in names if all(name in section for section in found)]

    def _layer(self, layers: list[Any]) -> Stacked | None:
        if not all(layer is None or _sparse(layer) for layer in layers):
            return None
        shapes = [(s.x.shape[0], len(p)) for s, p in zip(self.sources, self.positions, strict=True)]
        # anndata fills missing values with float64.
        return self.stacked(_rows(layers, shapes, np.dtype(np.float64)))

    def _graphs(self, found: list[Mapping[str, Any]]) -> dict[str, Any]:
        """Graphs without edges between inputs, as in `anndata.concat` with `pairwise`."""
        graphs = {}
        for key in self._shared(found):
            blocks = [section.get(key) for section in found]
            shapes = [(s.x.shape[0],) * 2 for s in self.sources]
            if all(b is None or isinstance(b, Matrix) or b.dtype.kind in "biuf" for b in blocks):
                graphs[key] = diagonal(_rows(blocks, shapes, np.dtype(bool)))
            else:
                pairs = zip(blocks, shapes, strict=True)
                every = [sparse.csr_matrix(n, dtype=bool) if b is None else b for b, n in pairs]
                graphs[key] = sparse.block_diag(every, format="csr")
        return graphs

    def _merged(self, parts: list[anndata.AnnData]) -> anndata.AnnData:
        import anndata

        self._make_alike(parts)
        join = "inner" if self.join == "inner" else "outer"
        merge = {"merge": "first", "uns_merge": "first"} if self.grown else _SAME
        merged = anndata.concat(parts, join=join, **merge)
        # Until here, genes are named by their positions in the whole.
        if not merged.var_names.is_monotonic_increasing:
            merged = merged[:, np.argsort(merged.var_names)].copy()
        merged.var = self.var.copy()
        return merged

    def _make_alike(self, parts: list[anndata.AnnData]) -> None:
        for key in dict.fromkeys(key for part in parts for key in part.obsm):
            there = [n for n, part in enumerate(parts) if key in part.obsm]
            frames = [parts[n].obsm[key] for n in there]
            if all(isinstance(frame, pd.DataFrame) for frame in frames):
                names = [self.names[n] for n in there]
                for n, frame in zip(there, alike(frames, names, f"obsm/{key}"), strict=True):
                    parts[n].obsm[key] = frame

    def _part(
        self,
        number: int,
        found: Parts | anndata.AnnData,
        layers: set[str],
        stacked: set[str],
        named: bool,
    ) -> anndata.AnnData:
        """The metadata of one source without obs, with genes that `anndata.concat` can
        align, with some of its layers, and without the `stacked` vectors. If it is not
        `named`, it has no cells."""
        import anndata

        if self.grown and number and len(found.varp):
            warnings.warn(
                f"varp of `{self.names[number]}` ({', '.join(map(repr, found.varp))}) is left out: "
                "graphs of genes stay those of the dataset.",
                stacklevel=2,
            )
        places = self.positions[number]
        kept = places >= 0
        cells = pd.Index([], dtype=object)
        if named:
            # Unlike the ids of the inputs, these are unique.
            cells = pd.Index([f"{number}-{n}" for n in range(self.sources[number].x.shape[0])])
        genes = pd.Index([f"{place:010}" for place in places[kept]], dtype=object)

        def on(value: Any, index: pd.Index) -> Any:
            return value.set_axis(index) if isinstance(value, pd.DataFrame) else value

        return anndata.AnnData(
            obs=pd.DataFrame(index=cells),
            var=pd.DataFrame(index=genes),
            obsm={k: on(loaded(v), cells) for k, v in found.obsm.items() if k not in stacked},
            varm={k: on(loaded(v)[kept], genes) for k, v in found.varm.items()},
            # Those of the existing cells stay in place.
            varp={} if self.grown else {k: whole(v)[kept][:, kept] for k, v in found.varp.items()},
            layers={k: whole(v)[:, kept] for k, v in found.layers.items() if k in layers},
            uns=dict(found.uns),
        )


_SAME = {"merge": "same", "uns_merge": "same"}

#: slafdb's name for the column that records the file of each cell.
_LABEL = "source_file"


def _names(columns: pd.DataFrame | Columns) -> list[str]:
    return [name for name, _ in columns.items()]


def _sparse(layer: Any) -> bool:
    if isinstance(layer, Matrix):
        return layer.note["encoding"] != "dense"
    return sparse.issparse(layer) and layer.dtype.kind in "biuf"


def _rows(matrices: list[Any], shapes: list[tuple[int, int]], dtype: np.dtype) -> list[Matrix]:
    """The matrices by rows, with empty ones of `dtype` in place of missing ones."""
    found = []
    for x, shape in zip(matrices, shapes, strict=True):
        x = sparse.csr_matrix(shape, dtype=dtype) if x is None else x
        if not isinstance(x, Matrix):
            x = SparseRows(x.tocsr() if sparse.issparse(x) else x, shape)
        found.append(x)
    return found


def _equal(left: pd.Series, right: pd.Series) -> bool:
    left, right = left.astype(object).to_numpy(), right.astype(object).to_numpy()
    missing = pd.isna(left)
    return bool((missing == pd.isna(right)).all() and (left[~missing] == right[~missing]).all())
