"""Sums, means, variances and medians of groups of cells or genes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from slaf import _slaf
from slaf.get.medians import medians
from slaf.ground.hints import did_you_mean
from slaf.lazy import reduce
from slaf.lazy.frame import whole
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.sources import Held
from slaf.pp.groups import Grouping
from slaf.pp.handles import mask_of, matrix_of, require

if TYPE_CHECKING:
    from anndata import AnnData

#: The functions, in the order of the layers of a result.
_FUNCTIONS = ("sum", "mean", "count_nonzero", "var", "median")


def aggregate(
    adata: LazyHandle,
    by: str | Collection[str],
    func: str | Iterable[str],
    *,
    axis: Literal["obs", 0, "var", 1] | None = None,
    mask: np.ndarray | str | None = None,
    dof: int = 1,
    layer: str | None = None,
    obsm: str | None = None,
    varm: str | None = None,
) -> AnnData:
    """Aggregates the values of groups of cells or genes: scanpy's `get.aggregate`. Reads X
    or the layer once, block by block, and once more for medians. Only the result is held
    in memory.

    Parameters
    ----------
    by
        One or several columns of obs (of var for `axis="var"`). Cells with a missing
        value in one of them belong to no group.
    func
        One or several of "sum", "mean", "count_nonzero", "var" and "median".
    mask
        Uses only these cells (genes): a mask, or a boolean column.
    dof
        Degrees of freedom of the variance.
    layer, obsm, varm
        The values to aggregate; by default X.

    Returns
    -------
    An AnnData of groups × genes (of cells × groups for `axis="var"`), with a float64
    layer for each of `func`. Groups without cells are left out. obs has the columns of
    `by`; var is that of the handle.

    Raises
    ------
    KeyError
        There is no such column, layer or array.
    ValueError
        There is no such function or axis, or `axis` does not fit `obsm` or `varm`.
    """
    from anndata import AnnData

    require(adata)
    functions = _functions(func)
    genes = _is_var(axis, varm)
    data, names = _data(adata, genes, layer, obsm, varm)
    frame, section = (adata.var, "var") if genes else (adata.obs, "obs")
    among = None if mask is None else mask_of(frame, mask, section)
    groups = Grouping(frame, by, among)
    result = AnnData(layers=_layers(data, groups, functions, dof), obs=groups.labels, var=names)
    return result.T if genes else result


def _functions(func: str | Iterable[str]) -> list[str]:
    wanted = [func] if isinstance(func, str) else list(func)
    for name in wanted:
        if name not in _FUNCTIONS:
            near = did_you_mean(_slaf.nearest(str(name), _FUNCTIONS) or _FUNCTIONS)
            raise ValueError(f"There is no function {name!r} of groups.{near}")
    return [name for name in _FUNCTIONS if name in wanted]


def _is_var(axis: Any, varm: str | None) -> bool:
    if axis is None:
        return varm is not None
    if axis not in ("obs", 0, "var", 1):
        raise ValueError(f"`axis` is 'obs' (0) or 'var' (1), not {axis!r}.")
    return axis in ("var", 1)


def _data(
    adata: LazyHandle, genes: bool, layer: str | None, obsm: str | None, varm: str | None
) -> tuple[MatrixPlan, pd.DataFrame]:
    """The values to aggregate, with one row per cell (or gene) to be grouped, and a frame
    that describes their columns."""
    if sum(name is not None for name in (layer, obsm, varm)) > 1:
        raise TypeError("Give only one of `layer`, `obsm` and `varm`.")
    if obsm is None and varm is None:
        matrix = matrix_of(adata, layer)
        return (matrix.turned(), whole(adata.obs)) if genes else (matrix, whole(adata.var))
    if genes != (varm is not None):
        raise ValueError("`varm` is of genes and `obsm` of cells: `axis` does not fit.")
    array: Any = adata.varm[varm] if genes else adata.obsm[obsm]
    columns = getattr(array, "columns", pd.RangeIndex(array.shape[1]))
    values = array.to_numpy() if isinstance(array, pd.DataFrame) else array
    return MatrixPlan.of(Held(values)), pd.DataFrame(index=columns.astype(str))


def _layers(
    data: MatrixPlan, groups: Grouping, functions: list[str], dof: int
) -> dict[str, np.ndarray]:
    layers = {}
    if set(functions) - {"median"}:
        found = reduce.grouped(data, groups.of_row, len(groups))
        layers = {
            "sum": found.sum,
            "mean": found.mean,
            "count_nonzero": lambda: found.nonzero().astype(np.float64),
            "var": lambda: found.var(ddof=dof),
        }
    layers["median"] = lambda: medians(data, groups)
    return {name: layers[name]() for name in functions}
