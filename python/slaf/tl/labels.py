"""Transfers labels from one dataset to the cells of another, with nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from slaf.lazy.handle import LazyHandle

#: Number of queries in one search.
_BLOCK = 4096


def transfer_labels(
    adata: LazyHandle,
    reference: LazyHandle,
    obs: str,
    *,
    key: str = "X_pca",
    k: int = 15,
    metric: str = "l2",
    key_added: str | None = None,
    exact: bool | None = None,
) -> pd.DataFrame:
    """Gives each cell of `adata` the most common label among its `k` nearest cells in
    `reference`. Labels are weighted by 1/distance, as in scikit-learn's
    `KNeighborsClassifier(weights="distance")`: if there are cells at distance 0, only
    they count.

    Parameters
    ----------
    obs
        The column of `reference.obs` with the labels. Cells without a label are left out.
    key
        The embedding in `obsm` of both; both have to be in the same space.
    metric, exact
        As in `reference.obsm.search`, except "dot", which gives no weights.
    key_added
        The column of `adata.obs` to set, by default `obs`. `<key_added>_confidence` is
        set too: the label's share of the total weight, from 0 to 1.

    Returns
    -------
    A frame with both columns, one row per cell.

    Raises
    ------
    KeyError
        An embedding or the column is missing.
    ValueError
        No cell of the reference has a label.
    """
    if metric == "dot":
        raise ValueError("A dot product is not a distance: transfer labels by l2 or cosine.")
    if obs not in reference.obs.columns:
        raise KeyError(f"The reference's obs has no column `{obs}`.")
    labels = reference.obs[obs]
    if not isinstance(labels.dtype, pd.CategoricalDtype):
        labels = labels.astype("category")
    codes = labels.cat.codes.to_numpy()
    if not (codes >= 0).any():
        raise ValueError(f"No cell of the reference has a label in `{obs}`.")
    known = None if (codes >= 0).all() else codes >= 0
    vectors: Any = np.asarray(adata.obsm[key])
    best, confidence = [], []
    for start in range(0, len(vectors), _BLOCK):
        found = reference.obsm.search(
            key, vectors[start : start + _BLOCK], k, metric=metric, filter=known, exact=exact
        )
        winner, share = _vote(codes, found.indices, found.distances, len(labels.cat.categories))
        best.append(winner)
        confidence.append(share)
    name = key_added or obs
    chosen = pd.Categorical.from_codes(np.concatenate(best or [[]]).astype(int), dtype=labels.dtype)
    shares = np.concatenate(confidence or [[]])
    result = pd.DataFrame({name: chosen, f"{name}_confidence": shares}, index=adata.obs_names)
    for column in result:
        adata.obs[column] = result[column]
    return result


def _vote(
    codes: np.ndarray, rows: np.ndarray, distances: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """The label with the greatest weight in each row, and its share of the total weight."""
    found = rows >= 0
    same = (distances <= 0) & found
    with np.errstate(divide="ignore"):
        weights = np.where(same.any(1, keepdims=True), same, found / np.abs(distances))
    weights = np.where(found, weights, 0.0)
    votes = np.zeros((len(rows), n))
    at = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
    np.add.at(votes, (at[found], codes[rows[found]]), weights[found])
    winner = votes.argmax(1)
    total = votes.sum(1)
    share = votes[np.arange(len(rows)), winner] / np.where(total > 0, total, 1.0)
    return np.where(total > 0, winner, -1), share
