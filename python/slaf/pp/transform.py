"""Functions that change the matrix. They read nothing, or one sum per cell or gene; the
change is applied when values are read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from warnings import warn

import numpy as np

from slaf.lazy import reduce
from slaf.lazy.counts import counts
from slaf.lazy.handle import LazyHandle
from slaf.lazy.state import state_of
from slaf.lazy.steps import Step
from slaf.pp.handles import mask_of, matrix_of, own, require, set_matrix


def normalize_total(
    adata: LazyHandle,
    target_sum: float | None = 1e4,
    inplace: bool = True,
    fragments: bool | None = None,
    *,
    exclude_highly_expressed: bool = False,
    max_fraction: float = 0.05,
    key_added: str | None = None,
    layer: str | None = None,
    copy: bool = False,
) -> LazyHandle | None:
    """Scales each cell to the same total. Reads the sums of cells, and with
    `exclude_highly_expressed` also the matrix, block by block.

    Parameters
    ----------
    target_sum
        The total; by default, the median of the totals that are not zero.
    inplace, copy
        Change the handle, or return a changed copy.
    fragments
        Accepted for compatibility with slafdb, and ignored.
    exclude_highly_expressed, max_fraction
        Totals do not include genes that have more than this share of any cell's counts.
    key_added
        A column of obs for the total of each cell divided by `target_sum`.

    Raises
    ------
    ValueError
        `max_fraction` is not between 0 and 1.
    """
    require(adata)
    if not 0 <= max_fraction <= 1:
        raise ValueError("Choose max_fraction between 0 and 1.")
    if copy or not inplace:
        adata = adata.copy()
    matrix = matrix_of(adata, layer)
    totals = counts(matrix, 1).total
    if exclude_highly_expressed:
        shares = matrix.after(Step("per_row", _not_zero(totals)))
        low = np.flatnonzero(~(reduce.moments(shares, 0).max() > max_fraction))
        totals = counts(matrix[:, low], 1).total
    some = totals > 0
    if target_sum is None:
        target_sum = float(np.median(totals[some])) if some.any() else 1.0
    # Rounded like the matrix, so that equal values stay equal to scanpy's.
    kind = np.float64 if matrix.dtype == np.float64 else np.float32
    factors = totals.astype(kind) / kind(target_sum)
    if not some.all():
        warn("Some cells have zero counts", UserWarning, stacklevel=2)
    step = Step("per_row", _not_zero(factors), "normalize_total")
    set_matrix(adata, layer, matrix.after(step))
    if key_added is not None:
        adata.obs[key_added] = factors
    return adata if copy or not inplace else None


def _not_zero(factors: np.ndarray) -> np.ndarray:
    return np.where(factors == 0, 1.0, factors).astype(np.float64)


def log1p(
    adata: LazyHandle,
    inplace: bool = True,
    fragments: bool | None = None,
    *,
    base: float | None = None,
    layer: str | None = None,
    copy: bool = False,
) -> LazyHandle | None:
    """log(1 + x), the natural logarithm or the one to `base`. Reads nothing."""
    require(adata)
    if "log1p" in adata.uns:
        warn("adata.X seems to be already log-transformed.", UserWarning, stacklevel=2)
    if copy or not inplace:
        adata = adata.copy()
    steps = [Step("log1p", None, "log1p")]
    if base is not None:
        steps.append(Step("times", 1.0 / np.log(base), "log1p"))
    set_matrix(adata, layer, matrix_of(adata, layer).after(*steps))
    adata.uns["log1p"] = {"base": base}
    return adata if copy or not inplace else None


def sqrt(adata: LazyHandle, *, copy: bool = False) -> LazyHandle | None:
    """The square root of X. Reads nothing."""
    require(adata)
    if copy:
        adata = adata.copy()
    set_matrix(adata, None, matrix_of(adata).after(Step("power", 0.5, "sqrt")))
    return adata if copy else None


def scale(
    adata: LazyHandle,
    zero_center: bool = True,
    max_value: float | None = None,
    inplace: bool = True,
    *,
    layer: str | None = None,
    mask_obs: Any = None,
    copy: bool = False,
) -> LazyHandle | None:
    """Scales each gene to unit variance and, with `zero_center`, to mean zero. Values are
    clipped at `max_value`. Reads the matrix once, for the means and standard deviations of
    genes, which are set in `var["mean"]` and `var["std"]`. A centred matrix is dense: it is
    computed block by block when it is used, and is in memory only if you request all of it.

    `mask_obs` is a mask of cells, or a boolean column of obs. Then only these cells are
    used and scaled, and the columns are named "mean of {column}" and "std of {column}", or
    "mean with mask" and "std with mask".
    """
    require(adata)
    if copy or not inplace:
        adata = adata.copy()
    matrix = matrix_of(adata, layer)
    mask, suffix = None, ""
    if mask_obs is not None:
        mask = mask_of(adata.obs, mask_obs, "obs")
        suffix = f" of {mask_obs}" if isinstance(mask_obs, str) else " with mask"
    scaled = matrix if mask is None else matrix[mask]
    found = reduce.moments(scaled, 0, squares=True)
    # The standard deviations of one cell are zero.
    mean, std = found.mean(), np.sqrt(found.var(ddof=int(scaled.shape[0] > 1)))
    std[std == 0] = 1.0
    steps = [Step("per_column", std, "scale")]
    if zero_center:
        steps.insert(0, Step("subtract", mean, "scale"))
    if max_value is not None:
        limit = float(max_value)
        clip = (
            Step("clip", limit)
            if zero_center
            else Step("clip_columns", np.full(matrix.shape[1], limit))
        )
        steps.append(Step(clip.name, clip.number, "scale"))
    set_matrix(adata, layer, matrix.after(*(replace(step, mask=mask) for step in steps)))
    adata.var[f"mean{suffix}"], adata.var[f"std{suffix}"] = mean, std
    return adata if copy or not inplace else None


def apply_transformations(adata: LazyHandle, transformations: list | None = None) -> LazyHandle:
    """Returns a copy that keeps only some of the pending transformations of X
    ("normalize_total", "log1p", "scale"), in their original order; None keeps all."""
    require(adata)
    adata = adata.copy()
    x = state_of(adata).x
    if transformations is not None and x is not None:
        wanted = set(transformations)
        set_matrix(adata, None, x.keeping(lambda step: step.of in wanted))
    return adata


def clear_transformations(adata: LazyHandle, inplace: bool = False) -> LazyHandle | None:
    """Undoes the pending transformations of X, so that its values are the stored ones."""
    require(adata)
    if not inplace:
        adata = adata.copy()
    own(adata)
    x = state_of(adata).x
    if x is not None:
        set_matrix(adata, None, x.keeping(lambda step: False))
    if "log1p" in adata.uns:
        del adata.uns["log1p"]
    return None if inplace else adata
