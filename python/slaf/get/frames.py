"""Columns of obs or var, values of genes or cells, and embeddings, together in one frame."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf import _slaf
from slaf.ground.hints import did_you_mean
from slaf.lazy.handle import LazyHandle
from slaf.pp.handles import matrix_of, require, takes_raw


def obs_df(
    adata: LazyHandle,
    keys: Collection[str] = (),
    obsm_keys: Iterable[tuple[str, Any]] = (),
    *,
    layer: str | None = None,
    gene_symbols: str | None = None,
    use_raw: bool = False,
) -> pd.DataFrame:
    """Values of cells: scanpy's `get.obs_df`. Only the named genes are read.

    Parameters
    ----------
    keys
        Columns of obs, and names of genes.
    obsm_keys
        Pairs of a key of obsm and one of its columns.
    layer, use_raw
        The matrix from which values of genes are taken; by default X.
    gene_symbols
        The column of var with the names of genes in `keys`; by default `var_names`.

    Returns
    -------
    One row per cell. The columns are `keys` in their order, then "<key>-<column>" for
    each of `obsm_keys`.

    Raises
    ------
    KeyError
        A key is neither a column nor a gene, or both, or the name of several genes.
    """
    require(adata)
    takes_raw(adata, use_raw, layer)
    source = adata.raw if use_raw else adata
    names = source.var_names if gene_symbols is None else pd.Index(source.var[gene_symbols])
    keys = [keys] if isinstance(keys, str) else list(keys)
    columns, genes = _columns_and_places(keys, adata.obs, names, ("obs", "gene"))
    frame = pd.DataFrame(index=adata.obs_names)
    if genes:
        values = matrix_of(adata, layer, use_raw=use_raw)[:, list(genes.values())].compute()
        frame = _beside(frame, values, list(genes))
    return _arranged(frame, adata.obs, columns, keys, adata.obsm, obsm_keys)


def var_df(
    adata: LazyHandle,
    keys: Collection[str] = (),
    varm_keys: Iterable[tuple[str, Any]] = (),
    *,
    layer: str | None = None,
) -> pd.DataFrame:
    """Values of genes: scanpy's `get.var_df`. `keys` are columns of var and names of
    cells; everything else is as in :func:`obs_df`."""
    require(adata)
    keys = [keys] if isinstance(keys, str) else list(keys)
    columns, cells = _columns_and_places(keys, adata.var, adata.obs_names, ("var", "cell"))
    frame = pd.DataFrame(index=adata.var_names)
    if cells:
        values = matrix_of(adata, layer)[list(cells.values())].compute()
        frame = _beside(frame, values.T, list(cells))
    return _arranged(frame, adata.var, columns, keys, adata.varm, varm_keys)


def _columns_and_places(
    keys: list[str], frame: pd.DataFrame, names: pd.Index, what: tuple[str, str]
) -> tuple[list[str], dict[str, int]]:
    """Splits `keys` into columns of `frame` and positions in `names`, without
    duplicates."""
    section, thing = what
    known = set(frame.columns)
    keys = list(dict.fromkeys(keys))
    places = np.flatnonzero(names.isin(keys))
    found = names[places]
    twice = found[found.duplicated()]
    if len(twice):
        raise KeyError(f"{twice[0]!r} is the name of {(found == twice[0]).sum()} {thing}s.")
    if both := known & set(found):
        raise KeyError(f"{both.pop()!r} is a column of {section} and a {thing}: rename the column.")
    missing = next((key for key in keys if key not in known and key not in found), None)
    if missing is not None:
        near = _slaf.nearest(str(missing), [*map(str, known), *map(str, names.dropna())])
        hint = did_you_mean(near)
        raise KeyError(f"{missing!r} is neither a column of {section} nor a {thing}.{hint}")
    columns = [key for key in keys if key in known]
    order = dict(zip(found, places, strict=True))
    return columns, {key: int(order[key]) for key in keys if key in order}


def _beside(frame: pd.DataFrame, values: Any, names: list[str]) -> pd.DataFrame:
    dense = values.toarray() if sparse.issparse(values) else values
    return pd.concat([frame, pd.DataFrame(dense, columns=names, index=frame.index)], axis=1)


def _arranged(
    frame: pd.DataFrame,
    section: pd.DataFrame,
    columns: list[str],
    keys: list[str],
    arrays: Any,
    array_keys: Iterable[tuple[str, Any]],
) -> pd.DataFrame:
    if columns:
        frame = pd.concat([frame, section[columns]], axis=1)
    if keys:
        frame = frame[keys]
    for key, column in array_keys:
        frame[f"{key}-{column}"] = _column(arrays[key], key, column)
    return frame


def _column(array: Any, key: str, column: Any) -> np.ndarray:
    try:
        if isinstance(array, pd.DataFrame):
            return array[column].to_numpy()
        found = array[:, column]
    except (IndexError, KeyError):
        width = array.shape[1]
        raise KeyError(f"{key!r} has {width} columns, and none is {column!r}.") from None
    return np.ravel(found.toarray() if sparse.issparse(found) else found)
