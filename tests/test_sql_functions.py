"""SQL's functions for single-cell data, compared with numpy, scanpy and AnnData."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import make_counts
from scipy import sparse
from slaf.dataset import dataset_of


def test_nearest_neighbours_are_those_of_numpy(sql_array):
    points = dataset_of(sql_array).vector("cells", "X_pca").astype(float)
    query = points[7] + 0.1
    cosine = 1 - points @ query / np.linalg.norm(points, axis=1) / np.linalg.norm(query)
    for metric, distances in {
        "l2": np.linalg.norm(points - query, axis=1),
        "cosine": cosine,
        "dot": -points @ query,
    }.items():
        got = sql_array.query(
            f"SELECT cell_integer_id, distance FROM knn(cells, 'X_pca', $q, 6, '{metric}')", q=query
        )
        nearest = np.argsort(distances, kind="stable")[:6]
        assert got["cell_integer_id"].to_list() == nearest.tolist()
        np.testing.assert_allclose(got["distance"], distances[nearest], rtol=1e-6)
    by_gene = sql_array.query("SELECT gene_id, distance FROM knn(genes, 'PCs', $q, 3)", q=[0.0] * 4)
    assert by_gene.height == 3


def of(column: pd.Series, label: str | None) -> np.ndarray:
    return (column.isna() if label is None else column == label).to_numpy()


def test_normalized_is_scanpys(sql_array):
    import scanpy as sc

    adata = make_counts(300, 60, seed=3)
    adata.X = adata.X.astype(np.float64)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    want = adata.X.tocoo()
    got = sql_array.query(
        "SELECT cell_integer_id, gene_integer_id, log1p(value) AS v FROM normalized(expression)"
    )
    found = sparse.coo_matrix(
        (got["v"], (got["cell_integer_id"], got["gene_integer_id"])), shape=want.shape
    )
    np.testing.assert_allclose(found.toarray(), want.toarray(), rtol=1e-9)
    means = sql_array.query(
        "SELECT c.cell_type, AVG(log1p(n.value)) AS m FROM normalized(expression) n "
        "JOIN cells c USING (cell_integer_id) GROUP BY c.cell_type"
    )
    for label, mean in means.rows():
        part = adata[of(adata.obs.cell_type, label)].X
        assert mean == pytest.approx(part.data.mean())


def test_pseudobulk_is_a_sum_by_group(sql_array):
    adata = make_counts(300, 60, seed=3)
    got = sql_array.query("SELECT * FROM pseudobulk(expression, 'cell_type', 'batch')")
    for cell_type, batch, gene, total, n in got.rows():
        cells = of(adata.obs.cell_type, cell_type) & of(adata.obs.batch, batch)
        column = adata[cells, gene].X.toarray()
        assert (total, n) == (column.sum(), (column > 0).sum())
    assert got["total"].sum() == adata.X.sum()


def test_a_pivot_turns_values_into_columns(sql_array):
    obs = sql_array.obs
    got = sql_array.query(
        "SELECT * FROM (SELECT cell_type, batch, n_genes FROM cells) "
        "PIVOT (AVG(n_genes) FOR batch IN ('batch1', 'batch2' AS b2)) ORDER BY cell_type"
    )
    assert got.columns == ["cell_type", "batch1", "b2"]
    want = obs.group_by("cell_type", "batch").agg(pl.col("n_genes").mean())
    for cell_type, batch, mean in want.rows():
        name = {"batch1": "batch1", "batch2": "b2"}[batch]
        row = got.filter(pl.col("cell_type").eq_missing(pl.lit(cell_type)))
        assert row[name].item() == pytest.approx(mean)


def test_a_sample_is_random_and_repeats(sql_array):
    draw = lambda seed: sql_array.query(f"SELECT * FROM sample(cells, 50, {seed})")  # noqa: E731
    assert draw(1).equals(draw(1)) and draw(1).columns == draw(2).columns
    one, two = (set(draw(seed)["cell_id"]) for seed in (1, 2))
    assert len(one) == len(two) == 50 and 0 < len(one & two) < 40
    assert sql_array.query("SELECT COUNT(*) FROM sample(expression, 10)").item() == 10
    # Every cell is as likely: 300 draws of 50 of 300 cells.
    drawn = np.zeros(300)
    for seed in range(300):
        ids = sql_array.query(f"SELECT cell_integer_id FROM sample(cells, 50, {seed})")
        drawn[ids["cell_integer_id"].to_numpy()] += 1
    # Binomial(300, 1/6): mean 50, standard deviation 6.5.
    assert abs(drawn - 50).max() < 33
