"""The tokens of a cell as a table, with genes and counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from slaf import _slaf
from slaf.dataset import Dataset
from slaf.ground import axes


@dataclass(frozen=True)
class CellTokens:
    """The tokens that a model gets for a cell.

    Attributes
    ----------
    name
        The name of the cell.
    frame
        One row per token, in order: `token` (int64), `gene` (the name of the gene, or of a
        special token such as `<cls>`), `count` (the gene's count in the cell; NaN for
        special tokens), and `value` if the model gets values.
    expressed
        The number of genes with counts in the cell.
    """

    name: str
    frame: pd.DataFrame
    expressed: int

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return self._drawn()[1]

    def _repr_html_(self) -> str:
        return self._drawn()[0]

    def _drawn(self) -> tuple[str, str]:
        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        genes = int(self.frame["count"].notna().sum())
        note = f"tokens of {self.name} in their order · {genes:,} of {self.expressed:,} genes"
        return _slaf.draw_table(table, note)


def cell_tokens(
    dataset: Dataset,
    cell: str | int,
    encode: Callable[..., Mapping[str, np.ndarray]],
    tokens: np.ndarray,
    special: Mapping[str, int],
) -> CellTokens:
    """The tokens that `encode` makes for a cell. `tokens` has the token of each gene.

    Raises
    ------
    KeyError, IndexError
        There is no such cell.
    """
    cells, genes = dataset.shape
    place = axes.positions([cell], cells, lambda: dataset.obs_names, "obs")
    indptr, indices, data = dataset.csr(place, range(genes))
    counts = sparse.csr_matrix((data, indices, indptr), shape=(1, genes))
    found = {key: array[0] for key, array in encode(counts, place).items()}
    there = found["attention_mask"]
    given = found["input_ids"][there].tolist()
    gene_of = {token: at for at, token in enumerate(tokens.tolist()) if token >= 0}
    names = {token: name for name, token in special.items()}
    names |= {token: str(dataset.var_names[at]) for token, at in gene_of.items()}
    row = counts.toarray()[0]
    frame = pd.DataFrame(
        {
            "token": given,
            "gene": [names.get(token, f"unknown_gene_{token}") for token in given],
            "count": [float(row[gene_of[t]]) if t in gene_of else np.nan for t in given],
        }
    )
    if "values" in found:
        frame["value"] = found["values"][there]
    return CellTokens(str(dataset.names("obs", place)[0]), frame, counts.nnz)
