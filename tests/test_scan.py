"""`slaf.scan`, `SLAFArray.scan` and `handle.lazy`: the tables, and what Polars can do with
them."""

from __future__ import annotations

import io
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import slaf
from conftest import make_counts
from polars.testing import assert_frame_equal
from scipy import sparse
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf

c = pl.col


@pytest.fixture
def made(tmp_path):
    """A dataset with a layer, raw, embeddings, a frame in obsm, and graphs."""
    adata = make_counts()
    adata.layers["twice"] = adata.X * 2
    adata.raw = adata[:, :30].copy()
    adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    adata.obsm["table"] = pd.DataFrame({"a": range(60), "b": ["x"] * 60}, index=adata.obs_names)
    adata.varm["PCs"] = np.random.default_rng(1).normal(size=(40, 3))
    adata.obsp["near"] = sparse.random(60, 60, 0.1, "csr", random_state=0)
    adata.varp["far"] = sparse.random(40, 40, 0.2, "csr", np.float32, random_state=1)
    SLAFConverter().convert_anndata(adata, tmp_path / "made.slaf")
    return adata, str(tmp_path / "made.slaf")


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(SlafError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message and message.endswith((".", "?", "`"))
    return message


# Tables ----------------------------------------------------------------------


def test_the_same_from_a_path_an_array_and_a_handle(made):
    adata, path = made
    plans = [
        slaf.scan(path),
        slaf.scan(SLAFArray(path)),
        slaf.scan(read_slaf(path), "X"),
        SLAFArray(path).scan(),
        read_slaf(path).lazy(),
    ]
    for plan in plans:
        assert isinstance(plan, pl.LazyFrame)
        assert plan.collect_schema() == pl.Schema(
            {"cell_integer_id": pl.UInt32, "gene_integer_id": pl.UInt32, "value": pl.Float32}
        )
        found = plan.collect()
        assert found["value"].to_list() == adata.X.data.tolist()
        assert found["gene_integer_id"].to_list() == adata.X.indices.tolist()


def test_what_it_tells_is_what_sql_tells(made):
    array = SLAFArray(made[1])
    for table, ids in (("cells", "cell_integer_id"), ("genes", "gene_integer_id")):
        plan = array.scan(table)
        names = [
            n for n in plan.collect_schema().names() if n in array.obs.columns + array.var.columns
        ]
        listed = ", ".join(f'"{name}"' for name in names)
        told = array.query(f"SELECT {listed} FROM {table} ORDER BY {ids}")
        assert_frame_equal(plan.select(names).collect(), told.cast({ids: pl.UInt32}))
    told = array.query(
        "SELECT cell_type, COUNT(*) AS n, SUM(value) AS s FROM expression JOIN cells USING "
        "(cell_integer_id) JOIN genes USING (gene_integer_id) WHERE mt GROUP BY cell_type "
        "ORDER BY cell_type NULLS FIRST"
    )
    plan = array.scan(obs="cell_type", var="mt").filter("mt").group_by("cell_type")
    found = plan.agg(n=pl.len(), s=c("value").sum()).sort("cell_type").collect()
    assert found.rows() == told.rows()


def test_layers_and_raw(made):
    adata, path = made
    for plan in (slaf.scan(path, "layers/twice"), read_slaf(path).lazy(layer="twice")):
        assert plan.collect()["value"].to_list() == (adata.X * 2).data.tolist()
    some = read_slaf(path)[5:9, 3:].lazy("layers/twice", obs="batch").filter(c("batch") == "batch1")
    rows = [n for n in range(5, 9) if adata.obs["batch"].iloc[n] == "batch1"]
    assert some.collect()["value"].to_list() == (adata.X[rows][:, 3:] * 2).data.tolist()
    raw = slaf.scan(path, "raw", obs="cell_type", var="gene_id").filter(c("gene_id") == "ENSG00011")
    found = raw.collect()
    assert found["value"].to_list() == adata.raw.X[:, 11].data.tolist()
    assert raw.collect_schema().names()[-2:] == ["cell_type", "gene_id"]
    view = read_slaf(path)[10:20].lazy("raw").collect()
    assert view["value"].to_list() == adata.raw.X[10:20].data.tolist()
    assert view["cell_integer_id"].min() == 10


def test_embeddings(made):
    adata, path = made
    found = slaf.scan(path, "obsm/X_pca").filter(c("cell_id").is_in(["cell-3", "cell-7"])).collect()
    assert found.schema["X_pca"] == pl.Array(pl.Float32, 5)
    np.testing.assert_array_equal(found["X_pca"].to_numpy(), adata.obsm["X_pca"][[3, 7]])
    assert found["cell_integer_id"].to_list() == [3, 7]
    varm = slaf.scan(path, "varm/PCs").collect()
    np.testing.assert_array_equal(varm["PCs"].to_numpy(), adata.varm["PCs"])
    table = slaf.scan(path, "obsm/table").filter(c("a") > 57).collect()
    assert table.rows() == [(58, "cell-58", 58, "x"), (59, "cell-59", 59, "x")]
    handle = read_slaf(path)
    handle.obsm["X_pca"][:] = 7
    handle.obsm["new"] = np.arange(120.0).reshape(60, 2)
    plan = handle[4:6].lazy("obsm/X_pca")
    assert plan.collect()["X_pca"].to_list() == [[7.0] * 5] * 2
    assert handle[[9, 4]].lazy("obsm/new").collect().rows() == [
        (9, "cell-9", [18.0, 19.0]),
        (4, "cell-4", [8.0, 9.0]),
    ]
    both = slaf.concat([read_slaf(path)[:5], read_slaf(path)[50:]])
    expected = adata.obsm["X_pca"][[*range(5), *range(50, 60)]]
    np.testing.assert_array_equal(both.lazy("obsm/X_pca").collect()["X_pca"].to_numpy(), expected)


@pytest.mark.parametrize(("table", "id_name"), [("obsp/near", "cell"), ("varp/far", "gene")])
def test_graphs(made, table, id_name):
    adata, path = made
    section, key = table.split("/")
    graph = sparse.csr_matrix(getattr(adata, section)[key])
    graph.sort_indices()
    found = slaf.scan(path, table).collect()
    assert found.columns == [f"{id_name}_integer_id_i", f"{id_name}_integer_id_j", "value"]
    i = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    assert found["value"].to_list() == graph.data.tolist()
    assert found.to_series(0).to_list() == i.tolist()
    assert found.to_series(1).to_list() == graph.indices.tolist()
    one = slaf.scan(path, table).filter(pl.nth(0) == 9).collect()
    assert one["value"].to_list() == graph[9].data.tolist()
    handle = read_slaf(path)
    part = handle[10:30] if section == "obsp" else handle[:, 10:30]
    expected = graph[10:30, 10:30]
    assert part.lazy(table).collect()["value"].to_list() == expected.data.tolist()
    assert part.lazy(table).collect().to_series(1).to_list() == (expected.indices + 10).tolist()
    getattr(handle, section)[key] = graph * 2
    assert handle.lazy(table).collect()["value"].to_list() == (graph * 2).data.tolist()


def test_matrices_in_memory(made):
    adata, path = made
    handle = read_slaf(path)[5:25].copy()
    handle.X = np.arange(20 * 40, dtype=np.int32).reshape(20, 40)
    handle.layers["mask"] = sparse.csr_matrix(adata.X[5:25] > 1)
    plan = handle.lazy("X", var="gene_id").filter(c("gene_id") == "ENSG00002").collect()
    assert plan["value"].to_list() == [row * 40 + 2 for row in range(20)]
    assert plan["cell_integer_id"].to_list() == list(range(5, 25))
    mask = handle.lazy(layer="mask").collect()
    assert mask.schema["value"] == pl.Boolean
    assert len(mask) == (adata.X[5:25] > 1).sum()


def test_names_that_two_things_have(tmp_path):
    adata = make_counts()
    adata.obs["value"], adata.obs["gene_id"], adata.obs["cell_id"] = 1.0, "of a cell", "another"
    adata.var["batch"] = "of a gene"
    SLAFConverter().convert_anndata(adata, tmp_path / "names.slaf")
    array = SLAFArray(tmp_path / "names.slaf")
    assert "'value' of obs or var" in refusal(array.scan, obs="value")
    assert "Both obs and var have the column 'batch'" in refusal(
        array.scan, obs="batch", var="batch"
    )
    assert "'gene_id'" in refusal(array.scan, obs="gene_id", var="gene_id")
    row = array.scan("cells").head(1).collect().row(0, named=True)
    assert (row["cell_id"], row["cell_id_"], row["value"]) == ("cell-0", "another", 1.0)


def test_polars_that_is_too_old_is_refused(made, monkeypatch):
    monkeypatch.setattr(pl, "__version__", "1.22.0")
    assert "polars 1.22.0" in refusal(slaf.scan, made[1])


def test_refusals(made):
    path = made[1]
    assert "'cells'" in refusal(slaf.scan, path, "cels")
    assert "`cell_type`" in refusal(slaf.scan, path, obs=["cell_typ"])
    assert "`symbol`" in refusal(slaf.scan, path, var="symbl")
    assert "'twice'" in refusal(slaf.scan, path, "layers/twic")
    assert "'X_pca'" in refusal(slaf.scan, path, "obsm/X_pcaa")
    assert "'near'" in refusal(slaf.scan, path, "obsp/neer")
    assert "not to 'cells'" in refusal(slaf.scan, path, "cells", obs="batch")
    assert "'raw'" in refusal(slaf.scan, path, "raw", layer="twice")
    handle = read_slaf(path)
    handle.raw, handle.X = None, None
    assert "no raw" in refusal(handle.lazy, "raw")
    assert "no X" in refusal(handle.lazy)
    with pytest.raises(TypeError, match="takes a path"):
        slaf.scan(7)
    with pytest.raises(FileNotFoundError):
        slaf.scan(path + "x")


# What polars does with them --------------------------------------------------


def test_all_ways_to_collect(made, tmp_path):
    adata, path = made
    plan = slaf.scan(path, obs="cell_type", var="mt")
    whole = plan.collect()
    few = plan.filter(c("value") > 2)
    assert_frame_equal(few.collect(), whole.filter(c("value") > 2))
    with_numbers = plan.with_row_index().filter(c("index") % 5 == 0).collect()
    assert_frame_equal(with_numbers, whole.with_row_index().filter(c("index") % 5 == 0))
    both = pl.collect_all([plan, few.select(pl.len())])
    assert_frame_equal(both[0], whole)
    twice = pl.concat([plan, slaf.scan(path, obs="cell_type", var="mt").filter("mt")]).collect()
    assert_frame_equal(twice, pl.concat([whole, whole.filter("mt")]))
    if hasattr(plan, "collect_batches"):
        assert_frame_equal(pl.concat(list(plan.collect_batches(maintain_order=True))), whole)
    plan.sink_parquet(tmp_path / "x.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "x.parquet"), whole)
    joined = slaf.scan(path).join(slaf.scan(path, "cells"), on="cell_integer_id")
    joined = joined.join(slaf.scan(path, "genes").filter("mt"), on="gene_integer_id")
    found = joined.group_by("cell_type").agg(c("value").sum()).sort("cell_type").collect()
    expected = whole.filter("mt").group_by("cell_type").agg(c("value").sum()).sort("cell_type")
    assert_frame_equal(found, expected)


def test_plans_are_sent_to_other_processes(made, tmp_path):
    adata, path = made
    handle = read_slaf(path)[20:, 5:]
    handle.obs["mine"] = np.arange(40)
    plan = handle.lazy("X", obs=["mine", "batch"], var="gene_id").filter(c("mine") > 37)
    expected = plan.collect()
    assert len(expected)
    (tmp_path / "plan").write_bytes(pickle.dumps(plan))
    code = (
        "import pickle, sys\n"
        f"plan = pickle.load(open({str(tmp_path / 'plan')!r}, 'rb'))\n"
        f"plan.collect().write_parquet({str(tmp_path / 'answer')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert_frame_equal(pl.read_parquet(tmp_path / "answer"), expected)
    again = pl.LazyFrame.deserialize(io.BytesIO(plan.serialize()))
    assert_frame_equal(again.collect(), expected)


def test_a_dataset_that_is_gone_is_told_in_a_sentence(made):
    path = made[1]
    plans = [
        slaf.scan(path, obs="batch"),
        slaf.scan(path, "cells"),
        slaf.scan(path).select(pl.len()),
    ]
    shutil.rmtree(path)
    for plan in plans:
        # Older polars puts a line of its own before it.
        with pytest.raises((SlafError, pl.exceptions.ComputeError)) as caught:
            plan.collect()
        assert path in str(caught.value) and "\n" not in str(caught.value)


INTERRUPTED = """
import os, signal, sys, time
import polars as pl, slaf
from slaf.lazy.scan import matrix_blocks

matrix_blocks.rows_of_a_block = lambda matrix: 1
places, seen = matrix_blocks._places, []
def counted(*block):
    seen.append(block)
    if len(seen) == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return places(*block)
matrix_blocks._places = counted
told = "not interrupted"
try:
    try:
        slaf.scan(sys.argv[1]).filter(pl.col("value") > 0).collect()
    except (KeyboardInterrupt, pl.exceptions.ComputeError) as error:
        told = "interrupted" if "KeyboardInterrupt" in repr(error) else repr(error)
    # polars raises one of its own, and Python's comes after it.
    time.sleep(1)
except KeyboardInterrupt:
    told = "interrupted"
print(told if len(seen) < 60 else "at its end")
"""


def test_an_interrupt_ends_a_plan(made):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, made[1]], capture_output=True, text=True
    )
    assert done.stdout == "interrupted\n", done.stderr


def test_a_script_may_end_while_a_block_is_on_its_way(made):
    code = (
        "import sys, time, polars as pl, slaf\n"
        "from slaf.lazy.scan import matrix_blocks\n"
        "matrix_blocks.rows_of_a_block = lambda matrix: 1\n"
        "places = matrix_blocks._places\n"
        "def slow(*block):\n"
        "    time.sleep(0.05)\n"
        "    return places(*block)\n"
        "matrix_blocks._places = slow\n"
        "plan = slaf.scan(sys.argv[1]).filter(pl.col('value') > 0).head(1)\n"
        "print(plan.collect(engine='streaming').height)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, made[1]], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


# What a plan would do --------------------------------------------------------


def test_explain(made):
    adata, path = made
    plan = slaf.scan(path, obs="cell_type", var="gene_id")
    asked = plan.filter(
        c("gene_id").is_in(["ENSG00011", "ENSG00012"]) & (c("cell_type") == "NK") & (c("value") > 1)
    )
    told = asked.group_by("cell_type").len().slaf.explain()
    assert told.splitlines()[0] == asked.group_by("cell_type").len().explain().splitlines()[0]
    lines = [line.strip() for line in told.splitlines()]
    nk = int((adata.obs["cell_type"] == "NK").sum())
    assert f"expression of {path}" in lines
    assert f"cells: {nk} of 60" in lines and "genes: 2 of 40" in lines
    kinds = [line.split(":")[0] for line in lines if line.startswith("filter of ")]
    assert kinds == ["filter of cells", "filter of genes", "filter of blocks"]
    stored = adata.X[:, 11:13].nnz
    assert f"reads: about {stored} of {adata.X.nnz} rows of expression_by_gene" in lines
    # Nothing was read for it, and the plan is as it was.
    assert len(asked.collect()) == (adata[adata.obs["cell_type"] == "NK", 11:13].X > 1).sum()


def test_explain_of_joins_and_of_what_reads_no_values(made):
    adata, path = made
    cells = slaf.scan(path, "cells").filter(c("age") > 50)
    told = slaf.scan(path).join(cells, on="cell_integer_id").select("value").slaf.explain()
    left = int((adata.obs["age"] > 50).sum())
    assert f"rows: {left} of 60" in told and f"of {path}" in told
    counted = slaf.scan(path).select("cell_integer_id").slaf.explain()
    assert "reads: no values; how many a cell has is known" in counted
    genes = slaf.scan(path).select("gene_integer_id").slaf.explain()
    assert f"reads: gene_integer_id of about {adata.X.nnz} of {adata.X.nnz} rows" in genes
    assert "rows of expression until there are 5" in slaf.scan(path).head(5).slaf.explain()
    none = slaf.scan(path, obs="batch").filter(c("batch") == "no such").slaf.explain()
    assert "cells: 0 of 60" in none and "reads: nothing" in none
