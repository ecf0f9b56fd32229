"""The tokenizers' rules from their papers and code, in simple and slow form: one cell at a
time, one gene after the other. `test_tokens.py` compares with them."""

from __future__ import annotations

import numpy as np


def geneformer(counts, ids, tokens, medians, *, version, width, mapping=None, total=None):
    """Theodoris et al. 2023; `TranscriptomeTokenizer`. `counts` are those of one cell,
    by gene."""
    total = sum(counts) if total is None else total
    summed = {}
    for count, gene in zip(counts, ids, strict=True):
        gene = gene.upper()
        if mapping is not None:
            gene = mapping.get(gene)
        if gene in tokens and gene in medians:
            summed[gene] = summed.get(gene, 0.0) + float(count)
    scaled = {g: n / total * 10_000 / medians[g] for g, n in summed.items() if n > 0}
    # Python's sort is stable: equal genes stay in the dataset's order.
    ranked = sorted(scaled, key=lambda gene: -scaled[gene])
    ranked = [tokens[gene] for gene in ranked]
    if version == "v1":
        return ranked[:width]
    return [tokens["<cls>"], *ranked[: width - 2], tokens["<eos>"]]


def scgpt_bins(values, n_bins):
    """Cui et al. 2024; `binning` with `_digitize`: the lowest and the highest bin for
    each value, as floats that are not yet rounded up."""
    edges = np.quantile(values, np.linspace(0, 1, n_bins - 1))
    left, right = np.digitize(values, edges), np.digitize(values, edges, right=True)
    return right, left


def medians(matrix):
    """The median of each gene's nonzero counts, per 10,000 counts of the cell."""
    found = []
    totals = matrix.sum(1)
    for gene in range(matrix.shape[1]):
        column = matrix[:, gene]
        seen = column > 0
        found.append(np.median(column[seen] / totals[seen] * 10_000) if seen.any() else np.nan)
    return np.array(found)
