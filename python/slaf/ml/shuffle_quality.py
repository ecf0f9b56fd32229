"""Measures how random batches are, compared with a full shuffle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def batch_entropy(
    batches: Iterable[np.ndarray],
    n_cells: int,
    labels: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Measures how random batches are.

    Parameters
    ----------
    batches
        Integer ids below `n_cells`: the `cell_ids` of batches of equal size.
    n_cells
        Number of cells in the dataset.
    labels
        A label of each cell.
    seed
        Seed of the full shuffle with which labels are compared.

    Returns
    -------
    `within` and `across`
        slafdb's benchmark: the mean difference between the ids of two cells in the same
        batch, and in two consecutive batches, on a scale where consecutive cells are 0
        and a full shuffle is 1. (Over all pairs, and against the expected values, where
        slafdb samples both.)
    `label_entropy`, `label_entropy_shuffled` and `label`
        scDataset's measure (D'Ascenzo and Cultrera di Montesano, 2025): the mean
        entropy of a batch's labels in bits, that of a full shuffle, and their ratio.
    """
    rows = [np.sort(np.asarray(batch, dtype=np.int64)) for batch in batches]
    rows = [row for row in rows if len(row) == len(rows[0])]
    size = len(rows[0])
    if size < 2 or len(rows) < 2:
        raise ValueError("At least two batches of two cells are needed.")
    scale = lambda found, low, high: float((found - low) / (high - low))  # noqa: E731
    # The expected difference between two of n different numbers is (n + 1) / 3.
    shuffled = (n_cells + 1) / 3
    within = np.mean([_within(row) for row in rows])
    across = np.mean([_across(a, b) for a, b in zip(rows, rows[1:], strict=False)])
    found = {
        "within": scale(within, (size + 1) / 3, shuffled),
        "across": scale(across, size, shuffled),
    }
    if labels is not None:
        codes = np.unique(labels, return_inverse=True)[1]
        random = np.random.default_rng(seed)
        true = [random.choice(n_cells, size, replace=False) for _ in rows]
        got, best = _labels(rows, codes), _labels(true, codes)
        found |= {"label_entropy": got, "label_entropy_shuffled": best, "label": got / best}
    return found


def _within(row: np.ndarray) -> float:
    """The mean difference between two of several ascending numbers."""
    n = len(row)
    return float((row * (2 * np.arange(n) - n + 1)).sum() / (n * (n - 1) / 2))


def _across(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a[:, None] - b[None, :]).mean())


def _labels(batches: Sequence[np.ndarray], codes: np.ndarray) -> float:
    entropies = []
    for batch in batches:
        share = np.bincount(codes[batch]) / len(batch)
        share = share[share > 0]
        entropies.append(-(share * np.log2(share)).sum())
    return float(np.mean(entropies))
