"""Tools for lazy handles: scores, markers, dendrograms, and labels from other datasets."""

from slaf.tl.dendrograms import dendrogram
from slaf.tl.filtered_markers import filter_rank_genes_groups
from slaf.tl.ingest import ingest
from slaf.tl.labels import transfer_labels
from slaf.tl.scores import score_genes, score_genes_cell_cycle

__all__ = [
    "dendrogram",
    "filter_rank_genes_groups",
    "ingest",
    "score_genes",
    "score_genes_cell_cycle",
    "transfer_labels",
]
