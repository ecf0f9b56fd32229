"""Plans over handles include slices, edits, joins and pending steps."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scanpy as sc
import slaf
from conftest import dense
from polars.testing import assert_frame_equal
from slaf.integrations import pp, read_slaf
from star_tables import OBS, VAR, obs_of, star, var_of

c = pl.col
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
def test_a_slice_shows_its_part_with_the_ids_of_the_dataset(counts_slaf, counts, name, of_view):
    rows, columns = SLICES[name]
    handle, part = read_slaf(counts_slaf)[rows, columns], counts[rows, columns]
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


def test_concatenated_handles(counts_slaf, counts):
    parts = [slice(0, 20), slice(10, 60)]
    handles = [read_slaf(counts_slaf)[parts[0], :30], read_slaf(counts_slaf)[parts[1], 5:]]
    adatas = [counts[parts[0], :30].copy(), counts[parts[1], 5:].copy()]
    for join in ("inner", "outer"):
        handle = slaf.concat(handles, join=join, index_unique="-")
        whole = ad.concat(adatas, join=join, index_unique="-", merge="same")
        whole.var = counts.var.loc[whole.var_names]
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


def test_edits_are_seen_as_they_were_when_the_plan_was_made(counts_slaf, counts):
    handle = read_slaf(counts_slaf)
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
    assert len(row) == np.diff(counts.X.indptr)[2]
    assert row["cell_type"].unique().to_list() == ["kind 2"]
    assert row["cell_id"].unique().to_list() == ["renamed 2"]
    assert row["value"].to_list() == counts.X[2].data.tolist()
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


def test_pending_steps(counts_slaf, counts):
    handle, other = read_slaf(counts_slaf), counts.copy()
    pp.normalize_total(handle, target_sum=1e4)
    sc.pp.normalize_total(other, target_sum=1e4)
    pp.log1p(handle)
    sc.pp.log1p(other)
    lazy = handle.lazy("X", obs=OBS, var=VAR)
    expected = star(other.X, obs_of(counts), var_of(counts))
    assert_near(lazy.collect(), expected, 1e-6)
    own = star(handle.X.compute(), obs_of(counts), var_of(counts))
    assert_frame_equal(lazy.collect(), own, check_exact=True)
    one = c("gene_id") == "ENSG00011"
    assert_frame_equal(lazy.filter(one).collect(), own.filter(one), check_exact=True)
    part = handle[10:20].lazy("X").filter(c("value") > 5).collect()
    wanted = own.filter(c("cell_integer_id").is_between(10, 19), c("value") > 5)
    assert_frame_equal(part, wanted.select(part.columns), check_exact=True)


def test_a_centred_matrix_is_all_its_values(counts_slaf, counts):
    handle, other = read_slaf(counts_slaf), counts.copy()
    pp.log1p(handle)
    sc.pp.log1p(other)
    pp.scale(handle)
    sc.pp.scale(other)
    lazy = handle.lazy("X", obs=OBS, var=VAR)
    expected = star(dense(other.X), obs_of(counts), var_of(counts))
    assert_near(lazy.collect(), expected, 1e-4)
    own = star(handle.X.compute(), obs_of(counts), var_of(counts))
    assert_frame_equal(lazy.collect(), own, check_exact=True)
    few = (c("symbol") == "G9") & (c("cell_type") == "NK")
    assert_near(lazy.filter(few).collect(), expected.filter(few), 1e-4)
    assert lazy.select(pl.len()).collect().item() == 60 * 40
