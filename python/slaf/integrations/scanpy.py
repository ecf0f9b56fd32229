"""slafdb's module of the same name: scanpy's preprocessing on lazy handles."""

from __future__ import annotations

from slaf.pp.combat import combat
from slaf.pp.doublets import scrublet
from slaf.pp.downsample import downsample_counts
from slaf.pp.graph import without_matrix
from slaf.pp.harmony import harmony_integrate
from slaf.pp.markers import rank_genes_groups
from slaf.pp.neighbors import neighbors
from slaf.pp.principal_components import pca
from slaf.pp.qc import calculate_qc_metrics, filter_cells, filter_genes
from slaf.pp.regress import regress_out
from slaf.pp.sampling import sample, subsample
from slaf.pp.transform import (
    apply_transformations,
    clear_transformations,
    log1p,
    normalize_total,
    scale,
    sqrt,
)
from slaf.pp.variable_genes import highly_variable_genes
from slaf.tl import (
    dendrogram,
    filter_rank_genes_groups,
    ingest,
    score_genes,
    score_genes_cell_cycle,
)

__all__ = [
    "LazyPreprocessing",
    "LazyTools",
    "apply_transformations",
    "clear_transformations",
    "pp",
    "tl",
]


class LazyPreprocessing:
    """`scanpy.pp` for handles."""

    calculate_qc_metrics = staticmethod(calculate_qc_metrics)
    filter_cells = staticmethod(filter_cells)
    filter_genes = staticmethod(filter_genes)
    normalize_total = staticmethod(normalize_total)
    log1p = staticmethod(log1p)
    sqrt = staticmethod(sqrt)
    scale = staticmethod(scale)
    highly_variable_genes = staticmethod(highly_variable_genes)
    pca = staticmethod(pca)
    neighbors = staticmethod(neighbors)
    regress_out = staticmethod(regress_out)
    combat = staticmethod(combat)
    harmony_integrate = staticmethod(harmony_integrate)
    downsample_counts = staticmethod(downsample_counts)
    sample = staticmethod(sample)
    subsample = staticmethod(subsample)
    scrublet = staticmethod(scrublet)


class LazyTools:
    """`scanpy.tl` for handles."""

    rank_genes_groups = staticmethod(rank_genes_groups)
    filter_rank_genes_groups = staticmethod(filter_rank_genes_groups)
    score_genes = staticmethod(score_genes)
    score_genes_cell_cycle = staticmethod(score_genes_cell_cycle)
    dendrogram = staticmethod(dendrogram)
    ingest = staticmethod(ingest)
    pca = staticmethod(pca)
    umap = staticmethod(without_matrix("tl", "umap"))
    tsne = staticmethod(without_matrix("tl", "tsne"))
    leiden = staticmethod(without_matrix("tl", "leiden"))
    louvain = staticmethod(without_matrix("tl", "louvain"))
    diffmap = staticmethod(without_matrix("tl", "diffmap"))
    draw_graph = staticmethod(without_matrix("tl", "draw_graph"))
    paga = staticmethod(without_matrix("tl", "paga"))
    paga_degrees = staticmethod(without_matrix("tl", "paga_degrees"))
    dpt = staticmethod(without_matrix("tl", "dpt"))
    embedding_density = staticmethod(without_matrix("tl", "embedding_density"))
    marker_gene_overlap = staticmethod(without_matrix("tl", "marker_gene_overlap"))


pp = LazyPreprocessing()
tl = LazyTools()
