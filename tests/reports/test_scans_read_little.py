"""A plan reads only the rows and columns that it needs."""

from __future__ import annotations

import polars as pl
import pytest
import slaf
from conftest import make_counts
from inside import engine_of
from slaf import SLAFArray
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of

c = pl.col


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
def counting(counts_slaf):
    array = SLAFArray(counts_slaf)
    dataset = dataset_of(array)
    dataset.engine = Counting(dataset.engine)
    return array


def test_nothing_is_read_before_a_plan_is_collected(counting):
    for table in ("expression", "cells", "genes"):
        counting.scan(table).filter(c(pl.UInt32) > 3)
    counting.scan(obs=True, var=True).filter(c("cell_type") == "NK").group_by("mt").len()
    assert engine_of(counting).csrs == []
    assert {rows for _, _, rows in engine_of(counting).reads} <= {0}


def test_filters_choose_what_is_read(counting, counts):
    lazy = counting.scan(obs=["cell_type", "batch"], var=["gene_id", "mt"])
    engine_of(counting).reads.clear()
    lazy.filter(c("gene_id") == "ENSG00011").collect()
    assert engine_of(counting).csrs == [(60, 1)]
    engine_of(counting).csrs.clear()
    n = int((counts.obs["cell_type"] == "NK").sum())
    lazy.filter(c("cell_type") == "NK", c("gene_id").is_in(["ENSG00011", "ENSG00012"])).collect()
    assert engine_of(counting).csrs == [(n, 2)]
    engine_of(counting).csrs.clear()
    both = (c("cell_type") == "NK") | (c("gene_id") == "ENSG00011")
    lazy.filter(both).collect()
    assert engine_of(counting).csrs == [(60, 40)]
    engine_of(counting).csrs.clear()
    lazy.filter(c("cell_type") == "none of them").collect()
    assert engine_of(counting).csrs == []


def test_columns_that_nobody_asks_for_are_not_read(counting):
    lazy = counting.scan(obs=True, var=True)
    engine_of(counting).reads.clear()
    lazy.filter(c("mt")).select("cell_type", "value").collect()
    assert {columns for _, columns, _ in engine_of(counting).reads} == {("mt",), ("cell_type",)}


def test_counts_read_no_values(counting, counts):
    lazy = counting.scan(obs=["cell_type"])
    assert lazy.select("cell_integer_id").collect().height == counts.X.nnz
    found = lazy.group_by("cell_type").len().collect()
    assert found["len"].sum() == counts.X.nnz
    assert lazy.select(pl.len()).collect().item() == counts.X.nnz
    counting.scan(var=["gene_id"]).group_by("gene_id").len().collect()
    assert engine_of(counting).csrs == []
    of_values = {
        columns for table, columns, _ in engine_of(counting).reads if table == "expression"
    }
    assert of_values <= {("gene_integer_id",)}


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_rows_that_are_numbered_without_their_columns(counting, counts, engine):
    for table, n in (("expression", counts.X.nnz), ("cells", 60)):
        rows = counting.scan(table).with_row_index("n").filter(c("n") % 3 != 1)
        wanted = [number for number in range(n) if number % 3 != 1]
        assert rows.select("n").collect(engine=engine)["n"].to_list() == wanted
        assert rows.drop("n").select(pl.len()).collect(engine=engine).item() == len(wanted)
    assert engine_of(counting).csrs == []


def test_metadata_is_read_for_the_rows_that_are_left(counting):
    lazy = counting.scan("cells")
    engine_of(counting).reads.clear()
    lazy.filter(c("cell_id").is_in(["cell-7", "cell-50"])).select("cell_type", "age").collect()
    assert engine_of(counting).reads == [
        ("cells", ("cell_id",), None),
        ("cells", ("cell_type", "age"), 2),
    ]
    engine_of(counting).reads.clear()
    lazy.filter(c("cell_integer_id").is_between(9, 40), c("cell_integer_id") != 20).select(
        "age"
    ).collect()
    assert engine_of(counting).reads == [("cells", ("age",), 32)]
    engine_of(counting).reads.clear()
    lazy.select("age").head(3).collect()
    assert engine_of(counting).reads == [("cells", ("age",), 3)]


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
