"""Plans over scans give what the same plans give over the table in memory, which is
made of the AnnData, and read what they need."""

from __future__ import annotations

import os

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scanpy as sc
import slaf
from conftest import dense, make_counts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slaf.dataset import dataset_of
from polars.testing import assert_frame_equal
from scipy import sparse
from slaf import SLAFArray
from slaf.data import SLAFConverter
from slaf.integrations import pp, read_slaf

OBS = ["cell_id", "cell_type", "batch", "doublet", "score", "donor", "age"]
VAR = ["gene_id", "symbol", "mt"]


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return make_counts(60, 40)


@pytest.fixture(scope="module")
def path(adata, tmp_path_factory) -> str:
    target = tmp_path_factory.mktemp("scan") / "made.slaf"
    SLAFConverter().convert_anndata(adata, target)
    return str(target)


def texts(column: pd.Series) -> pl.Series:
    return pl.Series([None if pd.isna(text) else str(text) for text in column], dtype=pl.String)


def obs_of(adata: ad.AnnData, cells: np.ndarray | None = None) -> pl.DataFrame:
    obs = adata.obs
    ids = np.arange(adata.n_obs) if cells is None else cells
    score = [None if np.isnan(x) else x for x in obs["score"]]
    return pl.DataFrame(
        {
            "cell_integer_id": pl.Series(ids, dtype=pl.UInt32),
            "cell_id": texts(pd.Series(adata.obs_names)),
            "cell_type": texts(obs["cell_type"]),
            "batch": texts(obs["batch"]),
            "doublet": pl.Series(obs["doublet"].to_numpy()),
            "score": pl.Series(score, dtype=pl.Float64),
            "donor": texts(obs["donor"]),
            "age": pl.Series([None if x is pd.NA else int(x) for x in obs["age"]], dtype=pl.Int64),
        }
    )


def var_of(adata: ad.AnnData, genes: np.ndarray | None = None) -> pl.DataFrame:
    ids = np.arange(adata.n_vars) if genes is None else genes
    return pl.DataFrame(
        {
            "gene_integer_id": pl.Series(ids, dtype=pl.UInt32),
            "gene_id": texts(pd.Series(adata.var_names)),
            "symbol": texts(adata.var["symbol"]),
            "mt": pl.Series(adata.var["mt"].to_numpy()),
        }
    )


def star(x, obs: pl.DataFrame, var: pl.DataFrame) -> pl.DataFrame:
    """The long table of a matrix; of a dense one, of all its values."""
    if sparse.issparse(x):
        x = sparse.csr_matrix(x)
        x.sort_indices()
        cell = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        gene, value = x.indices, x.data
    else:
        cell, gene = np.indices(x.shape).reshape(2, -1)
        value = x.ravel()
    obs, var = obs[cell], var[gene]
    return pl.concat(
        [
            obs.select("cell_integer_id"),
            var.select("gene_integer_id"),
            pl.DataFrame({"value": value}),
            obs.drop("cell_integer_id"),
            var.drop("gene_integer_id"),
        ],
        how="horizontal",
    )


ENGINES = st.sampled_from(["in-memory", "streaming"])
c = pl.col
ATOMS = [
    c("cell_type") == "T cells",
    c("cell_type") != "NK",
    c("cell_type").is_in(["T cells", "NK", None]),
    c("cell_type").is_null(),
    c("cell_type").eq_missing(None),
    c("donor").str.contains("[12]"),
    c("cell_id").is_in([f"cell-{n}" for n in range(0, 60, 3)]),
    c("score") > 0,
    c("score").is_nan(),
    ~(c("score") < 0.5),
    c("score").fill_null(9) > 0.3,
    c("age") % 2 == 0,
    c("doublet"),
    c("doublet").not_(),
    c("cell_type").map_elements(lambda text: len(text) > 2, return_dtype=pl.Boolean),
    c("cell_integer_id") < 25,
    c("cell_integer_id").is_in(list(range(0, 60, 7))),
    c("cell_integer_id").is_in([]),
    c("gene_integer_id") == 7,
    c("gene_id").is_in(["ENSG00003", "ENSG00011", "ENSG00039", "none"]),
    c("symbol").str.ends_with("1"),
    c("mt"),
    c("gene_integer_id").map_batches(lambda s: s % 3 == 0, return_dtype=pl.Boolean),
    c("value") > 1,
    c("value").is_in([2.0, 3.0]),
    c("value").is_between(1, 4),
    c("value").map_elements(lambda x: int(x) % 2 == 0, return_dtype=pl.Boolean),
    c("cell_integer_id") + c("gene_integer_id") > 40,
    c("score") < c("value"),
    c("donor") == pl.concat_str(pl.lit("d"), c("gene_integer_id") % 3),
    c("batch").str.len_chars() > c("gene_integer_id"),
    pl.lit(True),
    pl.lit(None, dtype=pl.Boolean),
    # Of all rows that there are, not of each.
    c("value") > c("value").mean(),
    c("value").cum_sum() < 100,
    c("value") == c("value").max().over("cell_type"),
]
PREDICATES = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: two[0] & two[1]),
        st.tuples(inner, inner).map(lambda two: two[0] & two[1]),
        st.tuples(inner, inner).map(lambda two: two[0] | two[1]),
        inner.map(lambda one: ~one),
    ),
    max_leaves=5,
)
ROWS = [
    lambda plan: plan.head(17),
    lambda plan: plan.slice(5, 30),
    lambda plan: plan.tail(9),
    lambda plan: plan.with_row_index("n").filter(c("n") % 3 != 1).drop("n"),
    lambda plan: plan.with_columns(value=c("value") * 2),
    lambda plan: plan.rename({"donor": "person"}).rename({"person": "donor"}),
]
STEPS = st.one_of(
    PREDICATES.map(lambda predicate: lambda plan: plan.filter(predicate)),
    st.sampled_from(ROWS),
)
ENDS = [
    lambda plan: plan,
    lambda plan: plan.select(pl.len()),
    lambda plan: plan.select("cell_integer_id"),
    lambda plan: plan.select("symbol", "gene_integer_id"),
    lambda plan: plan.select("value", "cell_type"),
    lambda plan: plan.select(c("value").sum(), n=c("cell_id").n_unique()),
    lambda plan: plan.group_by("cell_type").agg(c("value").mean()).sort("cell_type"),
    lambda plan: (
        plan.group_by("batch", "symbol").agg(pl.len(), c("value").max()).sort("batch", "symbol")
    ),
    lambda plan: plan.group_by("gene_id").len().sort("gene_id"),
    lambda plan: plan.sort("value", "cell_integer_id", "gene_integer_id", descending=True).head(12),
    lambda plan: plan.unique(["cell_type", "mt"], keep="first", maintain_order=True),
    lambda plan: plan.join(
        plan.group_by("cell_integer_id").agg(total=c("value").sum()),
        on="cell_integer_id",
        how="left",
        maintain_order="left",
    ),
]


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(STEPS, max_size=3),
    end=st.sampled_from(ENDS),
    engine=ENGINES,
    block=st.sampled_from([None, 30]),
)
def test_plans(path, adata, steps, end, engine, block):
    table = star(adata.X, obs_of(adata), var_of(adata)).lazy()
    plans = [slaf.scan(path, obs=OBS, var=VAR), table]
    with pytest.MonkeyPatch.context() as patch:
        if block is not None:
            # Several blocks, even of so few values.
            from slaf.lazy import stream
            from slaf.lazy.scan import reading

            patch.setattr(stream, "rows_of_a_block", lambda *_: 7)
            patch.setattr(reading, "rows_of_a_block", lambda *_: 7)
            patch.setattr(reading, "BLOCK_VALUES", block)
            patch.setattr(reading, "_VALUES_OF_GENES", block)
        for step in steps:
            plans = [step(plan) for plan in plans]
        found, expected = (end(plan).collect(engine=engine) for plan in plans)
    assert_frame_equal(found, expected, check_exact=True)


@settings(deadline=None, max_examples=60)
@given(predicate=PREDICATES, n=st.integers(0, 70), first=st.booleans(), engine=ENGINES)
def test_plans_over_cells(path, adata, predicate, n, first, engine):
    known = {"cell_type", "batch", "doublet", "score", "donor", "age", "cell_id", "cell_integer_id"}
    if not set(predicate.meta.root_names()) <= known:
        return
    both = [slaf.scan(path, "cells").select(obs_of(adata).columns), obs_of(adata).lazy()]
    both = [
        plan.head(n).filter(predicate) if first else plan.filter(predicate).head(n) for plan in both
    ]
    found, expected = (plan.collect(engine=engine) for plan in both)
    assert_frame_equal(found, expected)


# Handles -------------------------------------------------------------------


SLICES = {
    "whole": (slice(None), slice(None)),
    "some": (slice(5, 50), slice(3, 30)),
    "steps": (slice(2, 60, 3), slice(None, None, 2)),
    "any order": (np.array([7, 2, 59, 30, 11]), np.array([20, 4, 39])),
    "twice": (np.array([7, 7, 1]), slice(0, 40)),
    "none": (slice(0, 0), slice(None)),
}


@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("of_view", [False, True])
def test_a_slice_shows_its_part_with_the_ids_of_the_dataset(path, adata, name, of_view):
    rows, columns = SLICES[name]
    handle, part = read_slaf(path)[rows, columns], adata[rows, columns]
    cells, genes = np.arange(60)[rows], np.arange(40)[columns]
    if of_view:
        handle, part = handle[::-1, 1:], part[::-1, 1:]
        cells, genes = cells[::-1], genes[1:]
    expected = star(part.X, obs_of(part, cells), var_of(part, genes))
    lazy = handle.lazy("X", obs=OBS, var=VAR)
    assert_frame_equal(lazy.collect(), expected)
    few = c("mt") | (c("gene_id") == "ENSG00004")
    assert_frame_equal(lazy.filter(few).collect(), expected.filter(few))
    some = (c("batch") == "batch1") & (c("value") > 1)
    assert_frame_equal(lazy.filter(some).collect(), expected.filter(some))
    assert lazy.select(pl.len()).collect().item() == len(expected)
    ids = lazy.select("gene_integer_id").collect()
    assert_frame_equal(ids, expected.select("gene_integer_id"))
    of_cells = handle.lazy("obs").select(obs_of(part, cells).columns)
    assert_frame_equal(of_cells.collect(), obs_of(part, cells))
    assert_frame_equal(
        of_cells.filter(c("age") > 9).collect(), obs_of(part, cells).filter(c("age") > 9)
    )
    assert_frame_equal(handle.lazy("var").collect(), var_of(part, genes))


def test_concatenated_handles(path, adata):
    parts = [slice(0, 20), slice(10, 60)]
    handles = [read_slaf(path)[parts[0], :30], read_slaf(path)[parts[1], 5:]]
    adatas = [adata[parts[0], :30].copy(), adata[parts[1], 5:].copy()]
    for join in ("inner", "outer"):
        handle = slaf.concat(handles, join=join, index_unique="-")
        whole = ad.concat(adatas, join=join, index_unique="-", merge="same")
        whole.var = adata.var.loc[whole.var_names]
        expected = star(whole.X, obs_of(whole), var_of(whole)).drop("symbol", "mt")
        lazy = handle.lazy("X", obs=OBS, var=["gene_id"])
        assert_frame_equal(lazy.collect(), expected)
        asked = (c("gene_id") == "ENSG00011") & (c("donor") == "d1") & (c("value") >= 1)
        assert_frame_equal(lazy.filter(asked).collect(), expected.filter(asked))
        assert_frame_equal(
            handle[25:].lazy("X").collect(),
            expected.filter(c("cell_integer_id") >= 25).select(
                "cell_integer_id", "gene_integer_id", "value"
            ),
        )


def test_edits_are_seen_as_they_were_when_the_plan_was_made(path, adata):
    handle = read_slaf(path)
    handle.obs["cell_type"] = [f"kind {n % 4}" for n in range(60)]
    handle.obs["batch"] = pd.Categorical(["x", None] * 30)
    handle.obs["new"] = np.arange(60.0)
    handle.obs_names = [f"renamed {n}" for n in range(60)]
    lazy = handle.lazy("X", obs=["cell_type", "batch", "new", "cell_id"])
    cells = handle.lazy("cells").filter(c("new") > 57)
    handle.obs["new"] += 100
    handle.obs["cell_type"] = "gone"
    handle.obs_names = [f"again {n}" for n in range(60)]
    row = lazy.filter(c("new") == 2, c("batch") == "x").collect()
    assert len(row) == np.diff(adata.X.indptr)[2]
    assert row["cell_type"].unique().to_list() == ["kind 2"]
    assert row["cell_id"].unique().to_list() == ["renamed 2"]
    assert row["value"].to_list() == adata.X[2].data.tolist()
    assert cells.collect().select("cell_id", "new", "batch").rows() == [
        ("renamed 58", 58.0, "x"),
        ("renamed 59", 59.0, None),
    ]
    view = handle[[4, 8]]
    view.obs["new"] = [1.0, 2.0]
    assert view.lazy("obs").select("cell_integer_id", "new").collect().rows() == [
        (4, 1.0),
        (8, 2.0),
    ]


def assert_near(found: pl.DataFrame, expected: pl.DataFrame, tolerance: float) -> None:
    assert_frame_equal(found.drop("value"), expected.drop("value"))
    np.testing.assert_allclose(found["value"], expected["value"], tolerance, tolerance)


def test_pending_steps(path, adata):
    handle, other = read_slaf(path), adata.copy()
    pp.normalize_total(handle, target_sum=1e4)
    sc.pp.normalize_total(other, target_sum=1e4)
    pp.log1p(handle)
    sc.pp.log1p(other)
    lazy = handle.lazy("X", obs=OBS, var=VAR)
    expected = star(other.X, obs_of(adata), var_of(adata))
    assert_near(lazy.collect(), expected, 1e-6)
    own = star(handle.X.compute(), obs_of(adata), var_of(adata))
    assert_frame_equal(lazy.collect(), own, check_exact=True)
    one = c("gene_id") == "ENSG00011"
    assert_frame_equal(lazy.filter(one).collect(), own.filter(one), check_exact=True)
    part = handle[10:20].lazy("X").filter(c("value") > 5).collect()
    wanted = own.filter(c("cell_integer_id").is_between(10, 19), c("value") > 5)
    assert_frame_equal(part, wanted.select(part.columns), check_exact=True)


def test_a_centred_matrix_is_all_its_values(path, adata):
    handle, other = read_slaf(path), adata.copy()
    pp.log1p(handle)
    sc.pp.log1p(other)
    pp.scale(handle)
    sc.pp.scale(other)
    lazy = handle.lazy("X", obs=OBS, var=VAR)
    expected = star(dense(other.X), obs_of(adata), var_of(adata))
    assert_near(lazy.collect(), expected, 1e-4)
    own = star(handle.X.compute(), obs_of(adata), var_of(adata))
    assert_frame_equal(lazy.collect(), own, check_exact=True)
    few = (c("symbol") == "G9") & (c("cell_type") == "NK")
    assert_near(lazy.filter(few).collect(), expected.filter(few), 1e-4)
    assert lazy.select(pl.len()).collect().item() == 60 * 40


# What is read ---------------------------------------------------------------


class Counting:
    """A dataset that notes what is read of it."""

    def __init__(self, dataset):
        self._dataset = dataset
        self.csrs: list[tuple[int, int]] = []
        self.reads: list[tuple[str, tuple[str, ...], int | None]] = []

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def csr(self, cells, genes, dtype):
        self.csrs.append((length(cells), length(genes)))
        return self._dataset.csr(cells, genes, dtype)

    def read(self, table, columns, rows=None):
        self.reads.append((table, tuple(columns), None if rows is None else length(rows)))
        return self._dataset.read(table, columns, rows)


def length(place) -> int:
    return place[2] if isinstance(place, tuple) else len(place)


@pytest.fixture
def counting(path):
    array = SLAFArray(path)
    dataset = dataset_of(array)
    dataset.engine = Counting(dataset.engine)
    return array


def test_nothing_is_read_before_a_plan_is_collected(counting):
    for table in ("expression", "cells", "genes"):
        counting.scan(table).filter(c(pl.UInt32) > 3)
    counting.scan(obs=True, var=True).filter(c("cell_type") == "NK").group_by("mt").len()
    assert counting._dataset.csrs == []
    assert {rows for _, _, rows in counting._dataset.reads} <= {0}


def test_filters_choose_what_is_read(counting, adata):
    lazy = counting.scan(obs=["cell_type", "batch"], var=["gene_id", "mt"])
    counting._dataset.reads.clear()
    lazy.filter(c("gene_id") == "ENSG00011").collect()
    assert counting._dataset.csrs == [(60, 1)]
    counting._dataset.csrs.clear()
    n = int((adata.obs["cell_type"] == "NK").sum())
    lazy.filter(c("cell_type") == "NK", c("gene_id").is_in(["ENSG00011", "ENSG00012"])).collect()
    assert counting._dataset.csrs == [(n, 2)]
    counting._dataset.csrs.clear()
    both = (c("cell_type") == "NK") | (c("gene_id") == "ENSG00011")
    lazy.filter(both).collect()
    assert counting._dataset.csrs == [(60, 40)]
    counting._dataset.csrs.clear()
    lazy.filter(c("cell_type") == "none of them").collect()
    assert counting._dataset.csrs == []


def test_columns_that_nobody_asks_for_are_not_read(counting):
    lazy = counting.scan(obs=True, var=True)
    counting._dataset.reads.clear()
    lazy.filter(c("mt")).select("cell_type", "value").collect()
    assert {columns for _, columns, _ in counting._dataset.reads} == {("mt",), ("cell_type",)}


def test_counts_read_no_values(counting, adata):
    lazy = counting.scan(obs=["cell_type"])
    assert lazy.select("cell_integer_id").collect().height == adata.X.nnz
    found = lazy.group_by("cell_type").len().collect()
    assert found["len"].sum() == adata.X.nnz
    assert lazy.select(pl.len()).collect().item() == adata.X.nnz
    counting.scan(var=["gene_id"]).group_by("gene_id").len().collect()
    assert counting._dataset.csrs == []
    of_values = {columns for table, columns, _ in counting._dataset.reads if table == "expression"}
    assert of_values <= {("gene_integer_id",)}


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_rows_that_are_numbered_without_their_columns(counting, adata, engine):
    for table, n in (("expression", adata.X.nnz), ("cells", 60)):
        rows = counting.scan(table).with_row_index("n").filter(c("n") % 3 != 1)
        wanted = [number for number in range(n) if number % 3 != 1]
        assert rows.select("n").collect(engine=engine)["n"].to_list() == wanted
        assert rows.drop("n").select(pl.len()).collect(engine=engine).item() == len(wanted)
    assert counting._dataset.csrs == []


def test_metadata_is_read_for_the_rows_that_are_left(counting):
    lazy = counting.scan("cells")
    counting._dataset.reads.clear()
    lazy.filter(c("cell_id").is_in(["cell-7", "cell-50"])).select("cell_type", "age").collect()
    assert counting._dataset.reads == [
        ("cells", ("cell_id",), None),
        ("cells", ("cell_type", "age"), 2),
    ]
    counting._dataset.reads.clear()
    lazy.filter(c("cell_integer_id").is_between(9, 40), c("cell_integer_id") != 20).select(
        "age"
    ).collect()
    assert counting._dataset.reads == [("cells", ("age",), 32)]
    counting._dataset.reads.clear()
    lazy.select("age").head(3).collect()
    assert counting._dataset.reads == [("cells", ("age",), 3)]


@pytest.fixture
def cloud(s3, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3


def test_a_gene_in_the_cloud_is_read_from_the_copy_by_gene(cloud):
    adata, url = make_counts(4000, 300), cloud.url("scanned.slaf")
    SLAFConverter().convert_anndata(adata, url)
    sizes = {
        table: sum(len(cloud.get(key)) for key in cloud.keys(f"scanned.slaf/{table}.lance/"))
        for table in ("expression", "expression_by_gene")
    }
    lazy = slaf.scan(url, obs=["cell_type"], var=["gene_id"])
    cloud.forget()
    found = lazy.filter(c("gene_id") == "ENSG00011").group_by("cell_type").agg(c("value").sum())
    total = found.collect()["value"].sum()
    assert total == adata.X[:, 11].sum()
    sent = {
        table: sum(r.sent for r in cloud.log() if f"/{table}.lance/data" in f"/{r.key}")
        for table in sizes
    }
    assert sent["expression"] == 0
    assert 0 < sent["expression_by_gene"] < sizes["expression_by_gene"] / 4
