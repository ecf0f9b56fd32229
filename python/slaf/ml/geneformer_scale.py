"""The numbers by which Geneformer divides counts: totals of cells and medians of genes."""

from __future__ import annotations

import numpy as np

from slaf import _slaf
from slaf.dataset import Dataset, OverDataset, dataset_of
from slaf.ground.progress import job


def totals(array: OverDataset | Dataset, column: str) -> np.ndarray:
    """The totals of cells in a column of obs: float64.

    Raises
    ------
    ValueError
        There is no such column.
    """
    if column not in dataset_of(array).columns["cells"]:
        raise ValueError(f"The cells have no column `{column}` with their counts.")
    found = dataset_of(array).column("cells", column, None).to_numpy()
    return np.ascontiguousarray(found, dtype=np.float64)


def own_medians(array: OverDataset | Dataset) -> tuple[np.ndarray, str]:
    """The median of each gene in the dataset's own cells (float64), and which cells
    were used. Genes that no cell expresses get the median of all others."""
    with job("medians of genes"):
        scale, cells = _slaf.gene_medians(dataset_of(array).engine)
    which = "all" if cells == array.shape[0] else "a sample of"
    known = np.isfinite(scale)
    scale[~known] = np.median(scale[known]) if known.any() else 1.0
    return scale, f"{which} {cells:,} cells of the dataset"
