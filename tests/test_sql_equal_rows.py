"""Aggregates of expressions over values: equal rows are computed once, and counted. The
answers are DuckDB's."""

from __future__ import annotations

import anndata as ad
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from inside import engine_of
from scipy import sparse
from slaf import SLAFArray
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of
from sql_answers import compare

N, G = 2_000, 50
JOIN = "FROM expression e JOIN cells c ON e.cell_integer_id = c.cell_integer_id"


def counts(rng) -> np.ndarray:
    x = rng.negative_binomial(1, 0.3, (N, G))
    x[:5] *= 200  # counts over 255
    return x.astype(np.uint16)


def mixed(rng) -> np.ndarray:
    """Small whole numbers, beside all that is not."""
    values = [0.0, 1.0, 1.0, 2.0, 3.5, -2.0, 255.0, 256.0, 1e30, -np.inf, np.inf, np.nan]
    return rng.choice(np.array(values, np.float32), (N, G))


def fractions(rng) -> np.ndarray:
    """Nothing is equal."""
    return rng.random((N, G)).astype(np.float32)


def ones(rng) -> np.ndarray:
    return np.ones((N, G), np.float32)


@pytest.fixture(scope="module", params=[counts, mixed, fractions, ones], ids=lambda f: f.__name__)
def made(request, tmp_path_factory) -> SLAFArray:
    rng = np.random.default_rng(5)
    x = request.param(rng)
    obs = pd.DataFrame(
        {
            "cell_type": rng.choice(["T", "B", "NK"], N),
            "total": rng.integers(1, 9, N).astype(float),
        },
        index=[f"c{i}" for i in range(N)],
    )
    target = tmp_path_factory.mktemp("equal") / "made.slaf"
    SLAFConverter().convert_anndata(ad.AnnData(sparse.csr_matrix(x), obs=obs), target)
    return SLAFArray(target)


@pytest.fixture(scope="module")
def duck(made):
    connection = duckdb.connect()
    for name in ("cells", "genes", "expression"):
        frame = pl.DataFrame(engine_of(made).read(name, list(dataset_of(made).columns[name])))
        wide = frame.with_columns(pl.col(pl.UInt16, pl.UInt32).cast(pl.Int64))
        connection.register(name, wide.to_arrow())
    return connection


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT cell_type, AVG(LN(1 + ABS(e.value) / c.total * 1e4)), COUNT(*) {JOIN} WHERE e.value < 1e9 GROUP BY cell_type",
        f"SELECT cell_type, MIN(e.value * 2), MAX(e.value * 2), SUM(e.value + c.total) {JOIN} GROUP BY cell_type",
        f"SELECT cell_type, COUNT(*) FILTER (WHERE e.value > 1), SUM(e.value) FILTER (WHERE e.value = 2) {JOIN} GROUP BY cell_type",
        f"SELECT cell_type, STDDEV(e.value), VAR_POP(e.value) {JOIN} WHERE e.value BETWEEN 1 AND 255 GROUP BY cell_type",
        f"SELECT e.cell_integer_id, SUM(e.value * e.value) {JOIN} WHERE e.value < 1e9 GROUP BY e.cell_integer_id",
        "SELECT gene_integer_id, AVG(SQRT(ABS(value))) FROM expression WHERE ABS(value) < 1e9 GROUP BY gene_integer_id",
        "SELECT COUNT(*), SUM(value * 3), AVG(1 / value) FROM expression WHERE value > 0 AND value < 1e9",
        "SELECT COUNT(*) FROM expression WHERE value > 254",
        f"SELECT cell_type, SUM(e.value * e.gene_integer_id) {JOIN} WHERE e.value < 1e9 GROUP BY cell_type",
        "SELECT SUM(CASE WHEN value = 1 THEN NULL ELSE value END) FROM expression WHERE value < 1e9",
    ],
)
def test_expressions_over_values_are_duckdbs(made, duck, sql):
    compare(made, duck, sql)


def test_a_random_number_is_drawn_for_each_row(made):
    sql = "SELECT STDDEV(random() + value - value) AS s FROM expression WHERE ABS(value) < 1e9"
    assert abs(float(made.query(sql)["s"][0]) - 12**-0.5) < 0.01
