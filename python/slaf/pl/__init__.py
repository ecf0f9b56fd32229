"""scanpy's plots of lazy handles: we read the data that a plot shows, and scanpy draws
it."""

from slaf.pl.embeddings import diffmap, draw_graph, embedding, pca, tsne, umap
from slaf.pl.genes import (
    highest_expr_genes,
    highly_variable_genes,
    pca_loadings,
    pca_variance_ratio,
)
from slaf.pl.genes_by_group import dotplot, heatmap, matrixplot, stacked_violin, tracksplot, violin
from slaf.pl.group_similarity import correlation_matrix, dendrogram
from slaf.pl.ranked_genes import (
    rank_genes_groups,
    rank_genes_groups_dotplot,
    rank_genes_groups_heatmap,
    rank_genes_groups_matrixplot,
    rank_genes_groups_stacked_violin,
    rank_genes_groups_tracksplot,
    rank_genes_groups_violin,
)
from slaf.pl.scatter_plots import qc, scatter

__all__ = [
    "correlation_matrix",
    "dendrogram",
    "diffmap",
    "dotplot",
    "draw_graph",
    "embedding",
    "heatmap",
    "highest_expr_genes",
    "highly_variable_genes",
    "matrixplot",
    "pca",
    "pca_loadings",
    "pca_variance_ratio",
    "qc",
    "rank_genes_groups",
    "rank_genes_groups_dotplot",
    "rank_genes_groups_heatmap",
    "rank_genes_groups_matrixplot",
    "rank_genes_groups_stacked_violin",
    "rank_genes_groups_tracksplot",
    "rank_genes_groups_violin",
    "scatter",
    "stacked_violin",
    "tracksplot",
    "tsne",
    "umap",
    "violin",
]
