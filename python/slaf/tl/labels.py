"""Transfers labels from one dataset to the cells of another, by nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from slaf.lazy.handle import LazyHandle

#: Queries that are looked up at once.
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
    """Gives each cell of `adata` the label that most of its `k` nearest cells of
    `reference` have, near ones counting more (weights 1/distance, as scikit-learn's
    `KNeighborsClassifier(weights="distance")`; cells at distance 0 decide alone).

    Parameters
    ----------
    obs
        The column of `reference.obs` with the labels; cells without one are left out.
    key
        The embedding, in `obsm` of both, in one space.
    metric, exact
        As for `reference.obsm.search`; "dot" gives no weights.
    key_added
        The column of `adata.obs` to set, by default `obs`; `<key_added>_confidence` is
        set beside it: the label's part of the weight, from 0 to 1.

    Returns
    -------
    Both columns, a row a cell.

    Raises
    ------
    KeyError
        An embedding or the column is missing.
    ValueError
        No cell of the reference has a label.
    """
    if metric == "dot":
        raise ValueError("A product is no distance; transfer labels by l2 or cosine.")
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
    """The heaviest label of each row, and its part of the weight."""
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
