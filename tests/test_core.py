"""slafdb's tools around a dataset: filters, long tables, rows by cell, statements,
plans, and readers of inputs; every number is compared with anndata's or scipy's."""

from __future__ import annotations

import sys
import types

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import dense, make_counts
from inside import engine_of
from scipy import sparse
from slaf import SlafError
from slaf.array import SLAFArray
from slaf.core import SLAF_LANCE_COO_SCHEMA, DataSchema, fragment_processor
from slaf.core.fragment_processor import FragmentProcessor
from slaf.core.query_optimizer import PerformanceMetrics, QueryOptimizer, RowIndexMapper
from slaf.core.slaf import display_ascii_art
from slaf.core.sparse_ops import LazySparseMixin
from slaf.data import SLAFConverter
from slaf.data.chunked_reader import (
    BaseChunkedReader,
    Chunked10xH5Reader,
    Chunked10xMTXReader,
    ChunkedH5ADReader,
    ChunkedTileDBReader,
    create_chunked_reader,
)
from slaf.data.utils import detect_format, discover_input_files, validate_input_files
from slaf.dataset import dataset_of
from test_slafdb import slafdb
from test_sources import what_was_written, write_mtx


@pytest.fixture
def array(counts, convert) -> SLAFArray:
    counts.layers["half"] = counts.X * 0.5
    counts.obsm["X_pca"] = np.ones((counts.n_obs, 2), np.float32)
    return SLAFArray(convert(counts))


def matrix_of(table: pl.DataFrame, adata: ad.AnnData, value: str = "value") -> np.ndarray:
    """A long table as the matrix that it was, zeros where it has no row."""
    found = np.zeros(adata.shape)
    if "cell_id" in table.columns:
        cells = adata.obs_names.get_indexer(table["cell_id"].to_list())
        genes = adata.var_names.get_indexer(table["gene_id"].to_list())
    else:
        cells, genes = (table[f"{of}_integer_id"].to_numpy() for of in ("cell", "gene"))
    assert (cells >= 0).all() and (genes >= 0).all()
    assert len(set(zip(cells.tolist(), genes.tolist(), strict=True))) == len(table)
    found[cells, genes] = table[value].to_numpy()
    return found


# Filters -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"n_genes": ">= 50"}, lambda o: o.n_genes >= 50),
        ({"n_genes": "<=50.5"}, lambda o: o.n_genes <= 50.5),
        (
            {"n_genes": "> 50", "batch": "batch1"},
            lambda o: (o.n_genes > 50) & (o.batch == "batch1"),
        ),
        ({"n_genes": "<7"}, lambda o: o.n_genes < 7),
        ({"total_counts": 0}, lambda o: o.total_counts == 0),
        ({"total_counts": "0"}, lambda o: o.total_counts == 0),
        ({"total_counts": [0, 22.0]}, lambda o: o.total_counts.isin([0, 22])),
        ({"total_counts": range(500)}, lambda o: o.total_counts.isin(range(500))),
        ({"cell_type": "NK"}, lambda o: o.cell_type == "NK"),
        ({"cell_type": "== NK"}, lambda o: o.cell_type == "NK"),
        (
            {"cell_type": "!= B cells"},
            lambda o: o.cell_type.notna() & (o.cell_type.astype(object) != "B cells"),
        ),
        ({"cell_type": ["NK", "T cells"]}, lambda o: o.cell_type.isin(["NK", "T cells"])),
        ({"cell_type": ["NK", None]}, lambda o: o.cell_type.isin(["NK"]) | o.cell_type.isna()),
        ({"cell_type": None}, lambda o: o.cell_type.isna()),
        ({"cell_type": []}, lambda o: np.zeros(len(o), bool)),
        ({"doublet": True}, lambda o: o.doublet),
        ({"doublet": "!=true"}, lambda o: ~o.doublet),
        ({"seen": False}, lambda o: (~o.seen.astype("boolean")).fillna(False)),
        ({"age": "> 10"}, lambda o: (o.age > 10).fillna(False)),
        ({"age": None}, lambda o: o.age.isna()),
        ({"score": ">0"}, lambda o: o.score > 0),
        ({"score": "!= 0"}, lambda o: o.score.notna()),
        ({"score": None}, lambda o: o.score.isna()),
        ({"größe µ": "< 0"}, lambda o: o["größe µ"] < 0),
        ({"nCount.RNA": f"> {2**39}"}, lambda o: o["nCount.RNA"] > 2**39),
        ({"nCount_RNA": np.array([1, 2])}, lambda o: o["nCount.RNA"].isin([1, 2])),
        ({}, lambda o: np.ones(len(o), bool)),
    ],
)
def test_filter_cells(array, counts, filters, expected):
    found = array.filter_cells(**filters)
    wanted = np.asarray(expected(counts.obs), dtype=bool)
    assert found["cell_id"].to_list() == list(counts.obs_names[wanted])
    assert found.columns == array.obs.columns
    assert "X_pca" not in found.columns


def test_filter_genes(array, counts):
    assert array.filter_genes(mt=True)["gene_id"].to_list() == list(counts.var_names[counts.var.mt])
    assert array.filter_genes(symbol=["G3", "G1"])["gene_integer_id"].to_list() == [1, 3]


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"cell_typ": "NK"}, "`cell_typ`.*`cell_type`"),
        ({"n_genes": "many"}, "`n_genes` holds numbers"),
        ({"n_genes": [1, "many"]}, "`n_genes` holds numbers"),
        ({"cell_type": ">= 500"}, "`cell_type` holds texts.*== >= 500"),
        ({"cell_type": 3}, "`cell_type` holds no numbers"),
        ({"doublet": "perhaps"}, "`doublet` holds True and False"),
    ],
)
def test_a_filter_that_cannot_be(array, filters, says):
    with pytest.raises(SlafError, match=says):
        array.filter_cells(**filters)


def test_a_filter_is_no_sql(counts, convert):
    counts.obs["batch"] = ["'; DROP TABLE cells; --", "a $filter_0 {{x}}", '"'] * 20
    counts.obs['a "b" $c'] = range(60)
    array = SLAFArray(convert(counts))
    for value in counts.obs["batch"].unique():
        wanted = counts.obs_names[counts.obs["batch"] == value]
        assert array.filter_cells(batch=value)["cell_id"].to_list() == list(wanted)
    assert array.filter_cells(**{'a "b" $c': "< 2"})["cell_integer_id"].to_list() == [0, 1]


# Long tables -------------------------------------------------------------


def test_expression_of_cells(array, counts):
    named = ["cell-40", "cell-3", "cell-7"]
    found = array.get_cell_expression(named)
    wanted = counts[named].X.tocoo()
    assert found.columns == ["cell_id", "gene_id", "value"]
    assert found["cell_id"].to_list() == [named[i] for i in wanted.row]
    assert found["gene_id"].to_list() == list(counts.var_names[wanted.col])
    np.testing.assert_array_equal(found["value"].to_numpy(), wanted.data)
    one = array.get_cell_expression("cell-7")
    assert one.equals(found.filter(pl.col("cell_id") == "cell-7"))
    none = array.get_cell_expression([])
    assert none.shape == (0, 3) and none.schema == found.schema


def test_expression_of_genes(array, counts):
    named = ["ENSG00030", "ENSG00005", "ENSG00002"]
    found = array.get_gene_expression(named)
    kept = counts.copy()
    kept.X = dense(counts.X) * counts.var_names.isin(named)
    np.testing.assert_array_equal(matrix_of(found, counts), kept.X)
    cells = counts.obs_names.get_indexer(found["cell_id"].to_list())
    genes = counts.var_names.get_indexer(found["gene_id"].to_list())
    order = np.lexsort((genes, cells))
    np.testing.assert_array_equal(order, np.arange(len(found)))
    one = array.get_gene_expression("ENSG00030")
    assert one["value"].sum() == dense(counts[:, "ENSG00030"].X).sum()


def test_expression_of_what_is_not_there(array):
    with pytest.raises(KeyError, match="cell-400.*`cell-40`"):
        array.get_cell_expression(["cell-1", "cell-400"])
    with pytest.raises(KeyError, match="'ENSG0003'.*`ENSG00003`"):
        array.get_gene_expression("ENSG0003")


@pytest.mark.parametrize(
    ("cells", "genes"),
    [
        (None, None),
        (slice(5, 20), slice(None, 30, 7)),
        (slice(-5, None), slice(-1, None, -3)),
        (slice(None, 0), None),
        (7, -1),
        ([50, 2, -1], [3, 1]),
        (np.arange(60) % 3 == 0, [True, False] * 20),
        (["cell-3", "cell-1"], "ENSG00002"),
        (pd.Series(np.arange(60) > 30), np.array([0, 39])),
    ],
)
@pytest.mark.parametrize("layer", [None, "half"])
def test_submatrix(array, counts, cells, genes, layer):
    table = {} if layer is None else {"table_name": "layers", "layer_name": layer}
    found = array.get_submatrix(cells, genes, **table)
    everything = slice(None)
    part = counts[everything if cells is None else cells, everything if genes is None else genes]
    wanted = sparse.csr_matrix(part.X if layer is None else part.layers[layer])
    wanted.sort_indices()
    wanted = wanted.tocoo()
    assert found.columns == ["cell_id", "gene_id", "value"]
    assert found["cell_id"].to_list() == list(part.obs_names[wanted.row])
    assert found["gene_id"].to_list() == list(part.var_names[wanted.col])
    np.testing.assert_array_equal(found["value"].to_numpy(), wanted.data)


def test_submatrix_of_a_filter(array, counts):
    cells = array.filter_cells(cell_type="NK")
    found = array.get_submatrix(cells)
    wanted = dense(counts.X) * (counts.obs["cell_type"] == "NK").to_numpy()[:, None]
    np.testing.assert_array_equal(matrix_of(found, counts), wanted)


def test_submatrix_of_what_is_not_there(array):
    with pytest.raises(IndexError, match="60"):
        array.get_submatrix([0, 60])
    with pytest.raises(SlafError, match="layer_name"):
        array.get_submatrix(table_name="layers")
    with pytest.raises(SlafError, match="`halve`.*`half`"):
        array.get_submatrix(table_name="layers", layer_name="halve")
    with pytest.raises(SlafError, match="'cells'"):
        array.get_submatrix(table_name="cells")


def test_lance_tables(array, counts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(ImportError, match="pip install pylance.*SELECT"):
        array.expression  # noqa: B018
    assert array.cellsxcells is None and array.genesxgenes is None
    opened = []
    fake = types.SimpleNamespace(dataset=lambda path, **options: opened.append((path, options)))
    monkeypatch.setitem(sys.modules, "lance", fake)
    for name in ("expression", "cells", "genes", "layers"):
        getattr(array, name)
    paths = [f"{array.slaf_path}/{n}.lance" for n in ("expression", "cells", "genes", "layers")]
    assert opened == [(path, {"version": 1}) for path in paths]


def test_a_logo(capsys):
    display_ascii_art()
    assert "S L A F" in capsys.readouterr().out


# Rows by cell ------------------------------------------------------------


@pytest.fixture(scope="module", params=["ours", "slafdb"])
def mapped(request, tmp_path_factory) -> tuple[SLAFArray, ad.AnnData]:
    """slafdb's `cell_start_index` comes from `n_genes`, and is wrong."""
    tmp_path, adata = tmp_path_factory.mktemp("mapped"), make_counts()
    adata.obs = adata.obs[["batch", "n_genes"]]
    adata.write_h5ad(tmp_path / "x.h5ad")
    if request.param == "ours":
        SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    else:
        slafdb("convert", tmp_path / "x.h5ad", tmp_path / "x.slaf")
    array = SLAFArray(tmp_path / "x.slaf")
    assert (engine_of(array).defect() is None) == (request.param == "ours")
    return array, adata


@pytest.mark.parametrize("ids", [[0], [59, 3, 7, 58], list(range(60)), []])
def test_rows_of_cells(mapped, ids):
    array, adata = mapped
    rows = array.row_mapper.get_cell_row_ranges(ids)
    assert isinstance(rows, list)
    stored = pl.DataFrame(
        engine_of(array).read("expression", list(dataset_of(array).columns["expression"]))
    )
    block = adata.X[ids].tocoo()
    picked = stored[rows]
    assert picked["cell_integer_id"].to_list() == [ids[i] for i in block.row]
    assert picked["gene_integer_id"].to_list() == block.col.tolist()
    np.testing.assert_array_equal(picked["value"].to_numpy(), block.data)


def test_rows_of_a_selection(mapped):
    array, _ = mapped
    mapper = RowIndexMapper(array)
    assert mapper.get_cell_row_ranges_by_selector(None) == list(range(engine_of(array).nnz))
    mask = np.arange(60) % 2 == 0
    wanted = mapper.get_cell_row_ranges(list(range(0, 60, 2)))
    assert mapper.get_cell_row_ranges_by_selector(mask) == wanted
    assert mapper.get_cell_row_ranges_by_selector(slice(-1, None, -1)) == (
        mapper.get_cell_row_ranges(list(range(59, -1, -1)))
    )
    for bad in (60, -1):
        with pytest.raises(SlafError, match=f"Cell integer ID {bad} not found"):
            mapper.get_cell_row_ranges([0, bad])
    with pytest.raises(IndexError):
        mapper.get_cell_row_ranges_by_selector([60])


# Statements --------------------------------------------------------------


def test_consecutive_and_batches():
    assert QueryOptimizer.is_consecutive([]) and QueryOptimizer.is_consecutive([3, 1, 2, 2])
    assert not QueryOptimizer.is_consecutive([1, 3])
    batches = QueryOptimizer.adaptive_batch_ids
    assert batches([5, 1], max_batch_size=2) == [[5, 1]]
    assert batches([22, 1, 2, 3, 20, 21], max_batch_size=3) == [[1, 2, 3], [20, 21, 22]]
    assert batches(list(range(5)), max_batch_size=2) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("build", ["optimized", "small", "cte"])
@pytest.mark.parametrize("ids", [[], [4], [4, 5, 6], [9, 2, 9, 30], [*range(0, 30, 2), 31, 32]])
@pytest.mark.parametrize("entity", ["cell", "gene"])
def test_statements_for_ids(array, counts, entity, ids, build):
    if build == "cte":
        sql = QueryOptimizer.build_cte_query(ids, entity)
    else:
        size = 3 if build == "small" else 100
        sql = QueryOptimizer.build_optimized_query(ids, entity, max_batch_size=size)
    x = dense(counts.X).copy()
    rest = np.setdiff1d(np.arange(60 if entity == "cell" else 40), ids)
    x[(rest,) if entity == "cell" else (slice(None), rest)] = 0
    np.testing.assert_array_equal(matrix_of(array.query(sql), counts), x)


@pytest.mark.parametrize("layer", [None, "half"])
@pytest.mark.parametrize(
    ("cells", "genes"),
    [
        (None, None),
        (slice(10, 20), slice(0, 0)),
        (slice(3, -7, 4), slice(None, None, -12)),
        ([-1, 5, 5, 0], np.arange(40) % 7 == 0),
        (-1, slice(-40, None)),
    ],
)
def test_statements_for_selections(array, counts, cells, genes, layer):
    table = {} if layer is None else {"table_name": "layers", "layer_name": layer}
    sql = QueryOptimizer.build_submatrix_query(cells, genes, 60, 40, **table)
    x = dense(counts.X if layer is None else counts.layers[layer])
    kept = np.zeros_like(x)
    rows = np.arange(60)[slice(None) if cells is None else cells]
    columns = np.arange(40)[slice(None) if genes is None else genes]
    place = np.ix_(np.atleast_1d(rows), np.atleast_1d(columns))
    kept[place] = x[place]
    np.testing.assert_array_equal(matrix_of(array.query(sql), counts), kept)


def test_statements_that_cannot_be():
    build = QueryOptimizer.build_submatrix_query
    with pytest.raises(SlafError, match="cell_count"):
        build(cell_selector=[0])
    with pytest.raises(SlafError, match="gene_count"):
        build(gene_selector=[0], cell_count=3)
    with pytest.raises(SlafError, match="layer_name"):
        build(table_name="layers")
    with pytest.raises(SlafError, match="expression; DROP"):
        build(table_name="expression; DROP TABLE cells")
    with pytest.raises(IndexError):
        build(cell_selector=[-4], cell_count=3)
    with pytest.raises(SlafError, match="'x OR 1=1'"):
        QueryOptimizer.build_optimized_query([1], "x OR 1=1")


@pytest.mark.parametrize(
    ("ids", "strategy"),
    [
        ([], "empty"),
        ([4], "single"),
        ([4, 5], "consecutive"),
        ([4, 6], "scattered"),
        (list(range(0, 120, 2)), "cte"),
        (list(range(0, 220, 2)), "batched"),
    ],
)
def test_strategies(ids, strategy):
    assert QueryOptimizer.estimate_query_strategy(ids) == strategy


def test_metrics():
    metrics = PerformanceMetrics()
    assert metrics.get_average_time("scattered", 3) is None
    for seconds in (1.0, 3.0):
        metrics.record_query("adaptive_batch", 10, seconds)
    metrics.record_query("adaptive_batch", 11, 0.5)
    assert metrics.get_average_time("adaptive_batch", 10) == 2.0
    assert metrics.get_performance_summary() == {
        "adaptive_batch": {
            10: {"avg_time": 2.0, "min_time": 1.0, "max_time": 3.0, "count": 2},
            11: {"avg_time": 0.5, "min_time": 0.5, "max_time": 0.5, "count": 1},
        }
    }


# Plans -------------------------------------------------------------------

CELLS, GENES = slice(50, 4, -3), [30, 2, 2, 17]


@pytest.fixture(params=[1 << 22, 40], ids=["one part", "parts"])
def parted(request, monkeypatch) -> None:
    monkeypatch.setattr(fragment_processor, "_PART_VALUES", request.param)


@pytest.fixture(params=["build_lazy_pipeline", "build_lazy_pipeline_parallel"])
def build(request) -> str:
    return request.param


def selected(counts: ad.AnnData, x: np.ndarray) -> np.ndarray:
    kept = np.zeros(counts.shape)
    place = np.ix_(np.arange(60)[CELLS], GENES)
    kept[place] = x[place]
    return kept


@pytest.mark.parametrize("layer", [None, "half"])
@pytest.mark.parametrize("operation", ["compute_matrix", "log1p", "normalize_total"])
def test_plans_of_values(array, counts, parted, build, operation, layer):
    table = {} if layer is None else {"table_name": "layers", "layer_name": layer}
    processor = FragmentProcessor(array, CELLS, GENES, max_workers=3, **table)
    x = dense(counts.X if layer is None else counts.layers[layer]).astype(np.float64)
    options = {}
    if operation == "log1p":
        x = np.log1p(x)
    if operation == "normalize_total":
        options = {"target_sum": 50}
        x = np.divide(x * 50, x.sum(1, keepdims=True), where=x.sum(1, keepdims=True) > 0, out=x)
    plan = getattr(processor, build)(operation, **options)
    assert isinstance(plan, pl.LazyFrame)
    found = processor.compute(plan)
    stored = array.query("SELECT * FROM expression LIMIT 0").schema
    assert found.schema["cell_integer_id"] == stored["cell_integer_id"]
    assert found.schema["gene_integer_id"] == stored["gene_integer_id"]
    assert found.schema == plan.collect_schema()
    np.testing.assert_allclose(matrix_of(found, counts), selected(counts, x), rtol=1e-12)
    assert found["cell_integer_id"].is_sorted()
    few = plan.filter(pl.col("gene_integer_id") == 17).select("value").head(3).collect()
    assert few["value"].to_list() == found.filter(gene_integer_id=17)["value"].to_list()[:3]
    assert plan.head(4).collect().equals(found.head(4))


@pytest.mark.parametrize("operation", ["sum", "mean"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_plans_of_sums(array, counts, parted, build, operation, axis):
    processor = FragmentProcessor(array, CELLS, GENES)
    found = processor.compute(getattr(processor, build)(operation, axis=axis))
    x = selected(counts, dense(counts.X))
    total, stored = np.atleast_1d(x.sum(axis)), np.atleast_1d((x != 0).sum(axis))
    kept = np.flatnonzero(stored)
    if axis is not None:
        assert found[found.columns[0]].to_list() == kept.tolist()
    wanted = ["partial_sum"] if operation == "sum" else ["partial_sum", "partial_count"]
    assert found.columns[0 if axis is None else 1 :] == wanted
    assert found["partial_sum"].to_list() == total[kept].tolist()
    if operation == "mean":
        assert found["partial_count"].to_list() == stored[kept].tolist()


def test_plans_are_read_in_parts(array, monkeypatch):
    monkeypatch.setattr(fragment_processor, "_PART_VALUES", 40)
    processor = FragmentProcessor(array)
    assert processor.n_fragments == len(processor.fragments) == 15
    assert sum(map(len, processor.fragments)) == 60
    read = []
    block = FragmentProcessor._block
    monkeypatch.setattr(
        FragmentProcessor, "_block", lambda self, c, g: read.append(len(c)) or block(self, c, g)
    )
    plan = processor.build_lazy_pipeline("compute_matrix")
    assert sum(read) == 0
    assert plan.head(1).collect().height == 1
    assert sum(read) < 60


def test_plans_are_kept(array):
    processor = FragmentProcessor(array)
    plan = processor.build_lazy_pipeline_smart("sum", axis=0)
    assert processor.build_lazy_pipeline_smart("sum", axis=0) is plan
    assert processor.build_lazy_pipeline_smart("sum", axis=1) is not plan
    processor.clear_cache()
    assert processor.build_lazy_pipeline_smart("sum", axis=0) is not plan
    unkept = FragmentProcessor(array, enable_caching=False)
    assert unkept.build_lazy_pipeline("log1p") is not unkept.build_lazy_pipeline("log1p")


def test_plans_that_cannot_be(array):
    processor = FragmentProcessor(array)
    with pytest.raises(ValueError, match="Unknown operation: median"):
        processor.build_lazy_pipeline("median")
    with pytest.raises(SlafError, match="`log1p` has no option `base`"):
        processor.build_lazy_pipeline("log1p", base=2)
    with pytest.raises(SlafError, match="axes 0 and 1"):
        processor.build_lazy_pipeline("sum", axis=2)
    with pytest.raises(SlafError, match="layer_name"):
        FragmentProcessor(array, table_name="layers")


def test_schema():
    schema = DataSchema("cell", "gene", "value", value_list_key="values")
    assert (schema.item_list_key, schema.group_key_out) == ("item_list", None)
    assert SLAF_LANCE_COO_SCHEMA == DataSchema(
        "cell_integer_id",
        "gene_integer_id",
        "value",
        "cell_integer_id",
        "gene_sequence",
        "expr_sequence",
    )


# Reductions --------------------------------------------------------------


class Blocks(LazySparseMixin):
    def __init__(self, x, rows: int, kind=sparse.csr_matrix):
        super().__init__()
        self.x, self.rows, self.kind = x, rows, kind

    @property
    def shape(self):
        return self.x.shape

    def blocks(self):
        for start in range(0, self.shape[0], self.rows):
            yield start, self.kind(self.x[start : start + self.rows])


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array, np.asarray])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_sums_of_blocks(counts, kind, axis):
    # 2^24 + 1 is no float32: sums must not be taken in X's own dtype.
    x = dense(counts.X).astype(np.float32)
    x[:3, :3] = 2**24
    lazy = Blocks(x, 7, kind)
    total, mean = lazy.sum(axis), lazy.mean(axis)
    assert np.shape(total) == np.shape(mean) == ((), (40,), (60,))[0 if axis is None else axis + 1]
    assert isinstance(total, float if axis is None else np.ndarray)
    np.testing.assert_array_equal(total, x.astype(np.float64).sum(axis))
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(axis), rtol=1e-14)


def test_sums_of_small_integers():
    x = np.full((300, 2), 60_000, dtype=np.uint16)
    assert Blocks(x, 100).sum() == 36_000_000
    assert Blocks(x, 100, np.asarray).sum(1).tolist() == [120_000] * 300


def test_sums_of_nothing():
    assert Blocks(np.zeros((0, 3)), 1).sum() == 0
    assert Blocks(np.zeros((0, 3)), 1).sum(1).shape == (0,)
    assert np.isnan(Blocks(np.zeros((0, 3)), 1).mean(0)).tolist() == [True] * 3
    assert np.isnan(Blocks(np.zeros((0, 3)), 1).mean())
    with pytest.raises(ValueError, match="axes 0 and 1"):
        Blocks(np.zeros((2, 3)), 1).sum(2)
    with pytest.raises(NotImplementedError, match="shape"):
        LazySparseMixin().shape  # noqa: B018


# Readers -----------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path, counts) -> dict[str, tuple]:
    """Of each format the input, its reader, and what anndata has of it."""
    import scanpy as sc
    import tiledbsoma.io

    plain = counts[:, :30].copy()
    plain.obs = plain.obs[["batch", "n_genes"]]
    plain.write_h5ad(tmp_path / "x.h5ad")
    write_mtx(tmp_path / "mtx")
    tiledbsoma.io.from_anndata(str(tmp_path / "soma"), plain, measurement_name="RNA")
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("matrix")
        x = sparse.csr_matrix(plain.X)
        group["data"], group["indices"], group["indptr"] = x.data.astype("i4"), x.indices, x.indptr
        group["shape"] = [x.shape[1], x.shape[0]]
        group["barcodes"] = plain.obs_names.to_numpy().astype("S")
        for name, value in (
            ("id", plain.var_names),
            ("name", plain.var["symbol"]),
            ("feature_type", ["Gene Expression"] * 30),
        ):
            group[f"features/{name}"] = np.asarray(value).astype("S")
    return {
        "h5ad": (tmp_path / "x.h5ad", ChunkedH5ADReader, plain),
        "10x_mtx": (
            tmp_path / "mtx",
            Chunked10xMTXReader,
            what_was_written(),
        ),
        "10x_h5": (
            tmp_path / "x.h5",
            Chunked10xH5Reader,
            sc.read_10x_h5(tmp_path / "x.h5", gex_only=False),
        ),
        "tiledb": (tmp_path / "soma", ChunkedTileDBReader, plain),
    }


@pytest.mark.parametrize("kind", ["h5ad", "10x_mtx", "10x_h5", "tiledb"])
def test_chunks(inputs, kind):
    path, reader_class, wanted = inputs[kind]
    assert detect_format(str(path)) == kind
    reader = create_chunked_reader(str(path), value_type="float32")
    assert type(reader) is reader_class and isinstance(reader, BaseChunkedReader)
    with pytest.raises(RuntimeError, match="not open"):
        reader.n_obs  # noqa: B018
    with reader:
        assert (reader.n_obs, reader.n_vars) == wanted.shape
        assert list(reader.obs_names) == list(wanted.obs_names)
        assert list(reader.var_names) == list(wanted.var_names)
        assert list(reader.get_obs_metadata().index) == list(wanted.obs_names)
        assert set(wanted.var.columns) <= set(reader.get_var_metadata().columns)
        for size in (1, 7, 1000):
            tables, slices = zip(*reader.iter_chunks(chunk_size=size), strict=True)
            starts = range(0, wanted.n_obs, size)
            assert list(slices) == [slice(s, min(s + size, wanted.n_obs)) for s in starts]
            whole = pl.concat(map(pl.from_arrow, tables))
            assert whole.schema == {
                "cell_integer_id": pl.UInt32,
                "gene_integer_id": pl.UInt16,
                "value": pl.Float32,
            }
            np.testing.assert_array_equal(matrix_of(whole, wanted), dense(wanted.X))
            for table, at in zip(tables, slices, strict=True):
                cells = table["cell_integer_id"].to_numpy()
                assert ((cells >= at.start) & (cells < at.stop)).all()
        for cells, genes in (
            (slice(1, 3), slice(2, None)),
            (slice(-2, None), slice(None, None, 2)),
            (slice(None, None, -1), None),
            (slice(2, 2), None),
        ):
            found = pl.from_arrow(reader.get_chunk(cells, genes))
            kept = np.zeros(wanted.shape)
            rows = np.arange(wanted.n_obs)[cells]
            columns = np.arange(wanted.n_vars)[slice(None) if genes is None else genes]
            kept[np.ix_(rows, columns)] = dense(wanted.X)[np.ix_(rows, columns)]
            np.testing.assert_array_equal(matrix_of(found, wanted), kept)
        with pytest.raises(NotImplementedError):
            reader.iter_chunks(obs_chunk=False)
    with pytest.raises(RuntimeError, match="not open"):
        reader.get_obs_metadata()


def test_metadata_of_an_h5ad(inputs):
    path, _, wanted = inputs["h5ad"]
    with ChunkedH5ADReader(str(path)) as reader:
        pd.testing.assert_frame_equal(
            reader.get_obs_metadata(), ad.read_h5ad(path).obs, check_dtype=False
        )
        pd.testing.assert_frame_equal(
            reader.get_var_metadata(), ad.read_h5ad(path).var, check_dtype=False
        )


def test_value_types(tmp_path, pbmc_h5ad, pbmc):
    with ChunkedH5ADReader(str(pbmc_h5ad)) as reader:
        with pytest.raises(SlafError, match="no uint16.*float32"):
            list(reader.iter_chunks())
    with ChunkedH5ADReader(str(pbmc_h5ad), value_type="auto") as reader:
        whole = pl.concat(pl.from_arrow(table) for table, _ in reader.iter_chunks(300))
        np.testing.assert_array_equal(matrix_of(whole, pbmc), dense(pbmc.X))
    many = ad.AnnData(sparse.csr_matrix(np.array([[1, 70_000]], dtype=np.int32)))
    many.write_h5ad(tmp_path / "many.h5ad")
    with ChunkedH5ADReader(str(tmp_path / "many.h5ad")) as reader:
        with pytest.raises(SlafError, match="70000"):
            reader.get_chunk()
    with pytest.raises(SlafError, match="`text`"):
        ChunkedH5ADReader(str(tmp_path / "many.h5ad"), value_type="text")


def test_more_genes_than_uint16(tmp_path):
    x = sparse.csr_matrix(([1.0], ([0], [69_999])), shape=(1, 70_000), dtype=np.float32)
    ad.AnnData(x).write_h5ad(tmp_path / "wide.h5ad")
    with ChunkedH5ADReader(str(tmp_path / "wide.h5ad")) as reader:
        assert reader.get_chunk()["gene_integer_id"].to_pylist() == [69_999]


def test_genes_of_an_h5ad(inputs):
    path, _, wanted = inputs["h5ad"]
    with ChunkedH5ADReader(str(path)) as reader:
        with pytest.warns(UserWarning, match="nope"):
            parts = list(reader.get_gene_expression(["ENSG00009", "nope", "ENSG00001"], 25))
    assert [len(part) for part in parts] == [25, 25, 10]
    pd.testing.assert_frame_equal(
        pd.concat(parts), wanted[:, ["ENSG00009", "ENSG00001"]].to_df(), check_names=False
    )


def test_formats_by_name_and_content(tmp_path, pbmc_slaf, inputs):
    assert detect_format("nowhere.h5ad") == "h5ad"
    assert detect_format("nowhere.h5") == "10x_h5"
    assert detect_format(str(pbmc_slaf)) == "slaf"
    (inputs["h5ad"][0]).rename(tmp_path / "renamed.h5")
    assert detect_format(str(tmp_path / "renamed.h5")) == "h5ad"
    (tmp_path / "notes.txt").write_text("no data")
    for name in ("notes.txt", "nowhere.txt", "."):
        with pytest.raises(ValueError):
            detect_format(str(tmp_path / name))
    with pytest.raises(SlafError, match="SLAFArray"):
        create_chunked_reader(str(pbmc_slaf))


def test_inputs_of_a_folder(tmp_path, counts):
    folder = tmp_path / "study"
    for name in ("b", "a", "deep/c", "deep/deeper/d"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        counts.write_h5ad(folder / f"{name}.h5ad")
    (folder / "readme.txt").write_text("no data")
    SLAFConverter().convert_anndata(counts, folder / "a.slaf")
    found, kind = discover_input_files(str(folder))
    assert kind == "h5ad"
    assert found == [str(folder / f"{name}.h5ad") for name in ("a", "b", "deep/c")]
    assert discover_input_files(str(folder), max_depth=1)[0] == found[:2]
    assert discover_input_files(found[0]) == ([found[0]], "h5ad")
    write_mtx(folder / "mtx")
    assert discover_input_files(str(folder / "mtx")) == ([str(folder / "mtx")], "10x_mtx")
    with pytest.raises(SlafError, match="10x_mtx, h5ad"):
        discover_input_files(str(folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SlafError, match="nothing that can be converted"):
        discover_input_files(str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError):
        discover_input_files(str(tmp_path / "nowhere"))


def test_inputs_that_belong_together(tmp_path, counts):
    def write(name: str, adata: ad.AnnData) -> str:
        adata.write_h5ad(tmp_path / name)
        return str(tmp_path / name)

    first = write("first.h5ad", counts)
    turned = write("turned.h5ad", counts[:, ::-1].copy())
    assert validate_input_files([first, turned], "h5ad") is None
    fewer = counts[:, 1:].copy()
    fewer.obs = fewer.obs.drop(columns="batch").assign(extra=1)
    fewer.X = fewer.X.astype(np.int32)
    other = write("other.h5ad", fewer)
    (tmp_path / "damaged.h5ad").write_bytes(b"")
    with pytest.raises(ValueError) as error:
        validate_input_files(
            [first, other, str(tmp_path / "damaged.h5ad"), str(tmp_path / "nowhere.h5ad")], "h5ad"
        )
    lines = str(error.value).splitlines()[1:]
    assert lines[0] == "`other.h5ad` lacks the gene `ENSG00000` of the first input."
    assert lines[1] == "`other.h5ad` lacks the obs column `batch` of the first input."
    assert lines[2] == "`other.h5ad` has the obs column `extra`, and the first input has not."
    assert "`integers`" in lines[4] and "`fractions`" in lines[3]
    assert "damaged.h5ad" in lines[5] and "nowhere.h5ad" in lines[6] and len(lines) == 7
