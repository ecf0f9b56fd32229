"""The part of a handle that a plot needs, as an AnnData."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from slaf import _slaf
from slaf.ground.hints import did_you_mean
from slaf.lazy.handle import LazyHandle
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.pp.handles import takes_raw


def flat(names: Any) -> list[Any]:
    """Names in any form that scanpy accepts (one, several, or groups of them) as one
    list."""
    if names is None:
        return []
    if isinstance(names, str):
        return [names]
    if isinstance(names, Mapping):
        return [name for group in names.values() for name in flat(group)]
    return list(names)


def genes_named(given: Mapping[str, Any]) -> list[Any]:
    """`given["var_names"]` as one list.

    Raises
    ------
    ValueError
        It is empty.
    """
    names = flat(given["var_names"])
    if not names:
        raise ValueError("`var_names` names no gene.")
    return names


class Genes:
    """The names under which scanpy looks for genes: those of raw or of the handle, or
    those in a column of symbols, or both.

    Raises
    ------
    KeyError
        There is no such column.
    """

    def __init__(
        self, handle: LazyHandle, use_raw: bool, symbols: str | None, *, alone: bool = False
    ):
        self.holder = handle.raw if use_raw else handle
        self.names = self.holder.var_names
        columns = [str(name) for name in self.holder.var.columns]
        if symbols is not None and symbols not in columns:
            where = "raw.var" if use_raw else "var"
            near = did_you_mean(_slaf.nearest(symbols, columns))
            raise KeyError(f"{where} has no column {symbols!r} of gene symbols.{near}")
        self.symbols = None if symbols is None else pd.Index(self.holder.var[symbols])
        both = [self.names, self.symbols]
        #: The names by which genes are found.
        self.labels = both[:1] if symbols is None else both[1:] if alone else both

    def positions(self, wanted: Collection[Any]) -> np.ndarray:
        """The positions of the genes that `wanted` names, ascending."""
        return np.flatnonzero(np.any([labels.isin(wanted) for labels in self.labels], axis=0))

    def found(self, wanted: Collection[Any]) -> set[Any]:
        """The names in `wanted` that are genes."""
        return {name for labels in self.labels for name in labels[labels.isin(wanted)]}

    def var(self, positions: np.ndarray, wanted: Collection[Any]) -> pd.DataFrame:
        """Names and symbols of the `wanted` genes at `positions`.

        Raises
        ------
        ValueError
            Several genes have the name, or the wanted symbol.
        """
        names = self.names[positions]
        _require_one(names, "`handle.var_names_make_unique()` tells them apart.")
        frame = pd.DataFrame(index=names)
        if self.symbols is not None:
            symbols = self.symbols[positions]
            _require_one(symbols[symbols.isin(wanted)], "Name them without `gene_symbols`.")
            frame[self.symbols.name] = symbols.array
        return frame

    def matrix(self, layer: str | None) -> LazyExpressionMatrix:
        """X, or a layer.

        Raises
        ------
        KeyError
            There is no such layer.
        """
        if layer is not None and layer != "X":
            return self.holder.layers[layer]
        if self.holder.X is None:
            raise KeyError("The handle has no X; name a layer: `layer=...`.")
        return self.holder.X


def _require_one(names: pd.Index, advice: str) -> None:
    twice = names[names.duplicated()]
    if len(twice):
        raise ValueError(f"{twice[0]!r} is the name of {(names == twice[0]).sum()} genes. {advice}")


def check_groups(handle: LazyHandle, groupby: Sequence[str]) -> None:
    """Raises
    ------
    KeyError
        One of them is not a column of obs.
    ValueError
        There is no group, or no cell is in a group.
    """
    columns = [str(name) for name in handle.obs.columns]
    for name in groupby:
        if name not in columns and name != handle.obs.index.name:
            hint = did_you_mean(_slaf.nearest(str(name), columns))
            raise KeyError(f"obs has no column {name!r} to group by.{hint}")
    if not groupby:
        raise ValueError("`groupby` names no column of obs.")
    if not obs_of(handle, groupby).notna().all(axis=1).any():
        raise ValueError(f"No cell is of a group of {' and '.join(map(repr, groupby))}.")


def check_names(wanted: Collection[Any], obs: pd.DataFrame, *genes: Genes) -> None:
    """Raises
    ------
    KeyError
        A name is neither a column of obs nor a gene.
    """
    known = {*obs.columns, obs.index.name}.union(*(place.found(wanted) for place in genes))
    missing = next((name for name in wanted if name not in known), None)
    if missing is not None:
        labels = [obs.columns, *(labels.dropna() for place in genes for labels in place.labels)]
        near = _slaf.nearest(str(missing), [str(name) for names in labels for name in names])
        raise KeyError(f"{missing!r} is neither a column of obs nor a gene.{did_you_mean(near)}")


def cells(
    handle: LazyHandle,
    wanted: Iterable[Any],
    *,
    use_raw: bool | None = None,
    layers: Sequence[str | None] = (None,),
    gene_symbols: str | None = None,
    obsm: Sequence[str] = (),
) -> AnnData:
    """All cells of `handle` with the `wanted` columns of obs and genes, arrays of
    `obsm`, and uns. Values are in raw, in layers (None: X) or both, where scanpy looks
    for them; no others are read.

    Raises
    ------
    KeyError
        There is no such column or gene, layer or array.
    ValueError
        Several genes have a name, or there is no raw.
    """
    wanted = list(dict.fromkeys(wanted))
    named = [layer for layer in layers if layer not in (None, "X")]
    raw = takes_raw(handle, use_raw, named[0] if named else None)
    own = Genes(handle, False, _symbols_of(gene_symbols, handle, handle.raw if raw else None))
    places = [own]
    if raw:
        places = [Genes(handle, True, _symbols_of(gene_symbols, handle.raw, handle)), own]
    check_names(wanted, handle.obs, *places)
    found = own.positions(wanted)
    # scanpy uses X for genes that raw does not have.
    read = own.positions(set(wanted) - places[0].found(wanted)) if raw else found
    var = own.var(found, wanted)
    part = AnnData(
        X=_values(own, None, found, read) if None in layers or "X" in layers else None,
        obs=obs_of(handle, wanted),
        var=var,
        obsm={key: handle.obsm[key] for key in obsm},
        layers={layer: _values(own, layer, found, read) for layer in named},
        uns=dict(handle.uns),
        shape=None if None in layers or "X" in layers else (handle.n_obs, len(var)),
    )
    if raw:
        # For embeddings, scanpy takes values from raw by the symbols in var.
        there = places[0].positions([*wanted, *var.index])
        part.raw = AnnData(
            _values(places[0], None, there, there),
            obs=part.obs[[]],
            var=places[0].var(there, wanted),
        )
    return part


def _symbols_of(symbols: str | None, holder: Any, other: Any) -> str | None:
    """The column of symbols, unless only the `other` var has it."""
    elsewhere = other is not None and symbols in other.var.columns
    return None if elsewhere and symbols not in holder.var.columns else symbols


def obs_of(handle: LazyHandle, wanted: Iterable[Any]) -> pd.DataFrame:
    """The `wanted` columns of obs."""
    columns = [name for name in wanted if name in handle.obs.columns]
    return handle.obs[columns] if columns else pd.DataFrame(index=handle.obs_names)


def _values(genes: Genes, layer: str | None, shown: np.ndarray, read: np.ndarray) -> Any:
    """A matrix of cells × `shown`; the columns of genes that are not in `read` are
    empty."""
    if not len(read):
        return sparse.csr_matrix((genes.holder.n_obs, len(shown)), dtype=np.float32)
    found = genes.matrix(layer)[:, read].compute()
    if len(read) == len(shown):
        return found
    block = sparse.csr_matrix(found)
    columns = np.searchsorted(shown, read)[block.indices]
    return sparse.csr_matrix((block.data, columns, block.indptr), (block.shape[0], len(shown)))


def embedding_key(handle: LazyHandle, *keys: str) -> str:
    """The first of `keys` that obsm has.

    Raises
    ------
    KeyError
        It has none of them.
    """
    there = list(handle.obsm.keys())
    for key in keys:
        if key in there:
            return key
    near = did_you_mean(_slaf.nearest(keys[-1], there) or there)
    raise KeyError(f"obsm has no {' nor '.join(map(repr, keys))}.{near}")


def bare(handle: LazyHandle, *, varm: Sequence[str] = ()) -> AnnData:
    """An AnnData without cells: names and columns of the genes, arrays of `varm`, and
    uns."""
    return AnnData(
        X=sparse.csr_matrix((0, handle.n_vars), dtype=np.float32),
        var=handle.var_deprecated,
        varm={key: handle.varm[key] for key in varm},
        uns=dict(handle.uns),
    )
