"""slafdb's row ranges of cells, and its statements for ids, compared with scipy."""

from __future__ import annotations

import anndata as ad
import numpy as np
import polars as pl
import pytest
from checks import matrix_of
from conftest import dense, make_counts
from inside import engine_of
from slaf import SlafError
from slaf.array import SLAFArray
from slaf.core.query_optimizer import PerformanceMetrics, QueryOptimizer, RowIndexMapper
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of
from slafdb_calls import slafdb

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
def test_statements_for_ids(halved_array, halved, entity, ids, build):
    if build == "cte":
        sql = QueryOptimizer.build_cte_query(ids, entity)
    else:
        size = 3 if build == "small" else 100
        sql = QueryOptimizer.build_optimized_query(ids, entity, max_batch_size=size)
    x = dense(halved.X).copy()
    rest = np.setdiff1d(np.arange(60 if entity == "cell" else 40), ids)
    x[(rest,) if entity == "cell" else (slice(None), rest)] = 0
    np.testing.assert_array_equal(matrix_of(halved_array.query(sql), halved), x)


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
def test_statements_for_selections(halved_array, halved, cells, genes, layer):
    table = {} if layer is None else {"table_name": "layers", "layer_name": layer}
    sql = QueryOptimizer.build_submatrix_query(cells, genes, 60, 40, **table)
    x = dense(halved.X if layer is None else halved.layers[layer])
    kept = np.zeros_like(x)
    rows = np.arange(60)[slice(None) if cells is None else cells]
    columns = np.arange(40)[slice(None) if genes is None else genes]
    place = np.ix_(np.atleast_1d(rows), np.atleast_1d(columns))
    kept[place] = x[place]
    np.testing.assert_array_equal(matrix_of(halved_array.query(sql), halved), kept)


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
