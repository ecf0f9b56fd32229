"""Ranks the genes that differ between two selections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from slaf._slaf import SlafError

#: A column, and a key of uns, that exists only in the compared copy.
_KEY = "compared"


@dataclass(frozen=True)
class Comparison:
    """Genes that are higher in `a` than in `b`, most significant first.

    Attributes
    ----------
    genes
        One row per gene: `gene`, `score`, `log2_fold_change`, `p_value`,
        `p_value_adjusted`, and `share_a` and `share_b`, the fraction of cells in each
        that express the gene.
    a, b
        The names of the two selections.
    values
        A description of the values that were compared.
    handle
        The compared cells, whose `obs["compared"]` is "a" or "b".
    layer
        The layer that was compared; None for X.
    """

    genes: pd.DataFrame
    a: str
    b: str
    values: str
    handle: Any
    layer: str | None

    def plot(self, n: int = 10) -> Any:
        """scanpy's dot plot of the first `n` genes: a matplotlib Figure. Reads these
        genes of all compared cells."""
        import matplotlib.pyplot as plt
        import scanpy as sc

        names = list(self.genes["gene"][:n])
        few = self.handle[:, names].to_adata()
        few.obs[_KEY] = few.obs[_KEY].cat.rename_categories({"a": self.a, "b": self.b})
        plot = sc.pl.dotplot(
            few, names, _KEY, layer=self.layer, use_raw=False, return_fig=True, show=False
        )
        plot.make_figure()
        plt.close(plot.fig)
        return plot.fig

    def _repr_html_(self) -> str:
        return self.genes.head(20).to_html(float_format="{:.3g}".format, index=False, border=0)


def compare(
    handle: Any,
    masks: dict[str, np.ndarray],
    labels: list[str],
    *,
    layer: str | None,
    values: str,
    method: str,
    n_genes: int,
) -> Comparison:
    """Compares two selections, named by the keys of `masks`, by
    :func:`slaf.scanpy.tl.rank_genes_groups`, which streams. `labels` are unique names
    of the genes.

    Raises
    ------
    SlafError
        A selection has fewer than two cells, or a cell is in both.
    """
    from slaf.pp.markers import rank_genes_groups

    (a, in_a), (b, in_b) = masks.items()
    for name, mask in masks.items():
        if (n := int(mask.sum())) < 2:
            raise SlafError(f"{name} has {cells_of(n)}, and a comparison needs two or more.")
    if both := int((in_a & in_b).sum()):
        raise SlafError(f"{cells_of(both)} would be in both {a} and {b}. Select others.")
    either = in_a | in_b
    part = handle[either].copy()
    part.var_names = labels
    part.obs[_KEY] = pd.Categorical(np.where(in_a[either], "a", "b"))
    rank_genes_groups(
        part,
        _KEY,
        groups=["a"],
        reference="b",
        method=method,
        n_genes=n_genes,
        pts=True,
        layer=layer,
        use_raw=False,
        key_added=_KEY,
    )
    return Comparison(_table(part.uns[_KEY]), a, b, values, part, layer)


def _table(found: dict[str, Any]) -> pd.DataFrame:
    names = found["names"]["a"]
    shares = found["pts"].loc[names]
    return pd.DataFrame(
        {
            "gene": names,
            "score": found["scores"]["a"],
            "log2_fold_change": found["logfoldchanges"]["a"],
            "p_value": found["pvals"]["a"],
            "p_value_adjusted": found["pvals_adj"]["a"],
            "share_a": shares["a"].to_numpy(),
            "share_b": shares["b"].to_numpy(),
        }
    )


def cells_of(n: int) -> str:
    return f"{n:,} cell{'' if n == 1 else 's'}"
