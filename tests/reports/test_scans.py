"""Plans over scans return what the same plans return over a table in memory, made from the
AnnData, and read only what they need."""

from __future__ import annotations

import anndata as ad
import polars as pl
import pytest
import slaf
from conftest import make_counts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from star_tables import OBS, VAR, obs_of, star, var_of


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return make_counts()


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
def test_plans(counts_slaf, adata, steps, end, engine, block):
    table = star(adata.X, obs_of(adata), var_of(adata)).lazy()
    plans = [slaf.scan(counts_slaf, obs=OBS, var=VAR), table]
    with pytest.MonkeyPatch.context() as patch:
        if block is not None:
            # Several blocks, even of so few values.
            from slaf.lazy import stream
            from slaf.lazy.scan import matrix_blocks

            patch.setattr(stream, "rows_of_a_block", lambda *_: 7)
            patch.setattr(matrix_blocks, "rows_of_a_block", lambda *_: 7)
            patch.setattr(matrix_blocks, "BLOCK_VALUES", block)
            patch.setattr(matrix_blocks, "_VALUES_OF_GENES", block)
        for step in steps:
            plans = [step(plan) for plan in plans]
        found, expected = (end(plan).collect(engine=engine) for plan in plans)
    assert_frame_equal(found, expected, check_exact=True)


@settings(deadline=None, max_examples=60)
@given(predicate=PREDICATES, n=st.integers(0, 70), first=st.booleans(), engine=ENGINES)
def test_plans_over_cells(counts_slaf, adata, predicate, n, first, engine):
    known = {"cell_type", "batch", "doublet", "score", "donor", "age", "cell_id", "cell_integer_id"}
    if not set(predicate.meta.root_names()) <= known:
        return
    both = [slaf.scan(counts_slaf, "cells").select(obs_of(adata).columns), obs_of(adata).lazy()]
    both = [
        plan.head(n).filter(predicate) if first else plan.filter(predicate).head(n) for plan in both
    ]
    found, expected = (plan.collect(engine=engine) for plan in both)
    assert_frame_equal(found, expected)
