"""slafdb's plans over fragments, and sums over blocks, compared with numpy."""

from __future__ import annotations

import anndata as ad
import numpy as np
import polars as pl
import pytest
from checks import matrix_of
from conftest import dense
from scipy import sparse
from slaf import SlafError
from slaf.core import SLAF_LANCE_COO_SCHEMA, DataSchema, fragment_processor
from slaf.core.fragment_processor import FragmentProcessor
from slaf.core.sparse_ops import LazySparseMixin

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
def test_plans_of_values(halved_array, halved, parted, build, operation, layer):
    table = {} if layer is None else {"table_name": "layers", "layer_name": layer}
    processor = FragmentProcessor(halved_array, CELLS, GENES, max_workers=3, **table)
    x = dense(halved.X if layer is None else halved.layers[layer]).astype(np.float64)
    options = {}
    if operation == "log1p":
        x = np.log1p(x)
    if operation == "normalize_total":
        options = {"target_sum": 50}
        x = np.divide(x * 50, x.sum(1, keepdims=True), where=x.sum(1, keepdims=True) > 0, out=x)
    plan = getattr(processor, build)(operation, **options)
    assert isinstance(plan, pl.LazyFrame)
    found = processor.compute(plan)
    stored = halved_array.query("SELECT * FROM expression LIMIT 0").schema
    assert found.schema["cell_integer_id"] == stored["cell_integer_id"]
    assert found.schema["gene_integer_id"] == stored["gene_integer_id"]
    assert found.schema == plan.collect_schema()
    np.testing.assert_allclose(matrix_of(found, halved), selected(halved, x), rtol=1e-12)
    assert found["cell_integer_id"].is_sorted()
    few = plan.filter(pl.col("gene_integer_id") == 17).select("value").head(3).collect()
    assert few["value"].to_list() == found.filter(gene_integer_id=17)["value"].to_list()[:3]
    assert plan.head(4).collect().equals(found.head(4))


@pytest.mark.parametrize("operation", ["sum", "mean"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_plans_of_sums(halved_array, halved, parted, build, operation, axis):
    processor = FragmentProcessor(halved_array, CELLS, GENES)
    found = processor.compute(getattr(processor, build)(operation, axis=axis))
    x = selected(halved, dense(halved.X))
    total, stored = np.atleast_1d(x.sum(axis)), np.atleast_1d((x != 0).sum(axis))
    kept = np.flatnonzero(stored)
    if axis is not None:
        assert found[found.columns[0]].to_list() == kept.tolist()
    wanted = ["partial_sum"] if operation == "sum" else ["partial_sum", "partial_count"]
    assert found.columns[0 if axis is None else 1 :] == wanted
    assert found["partial_sum"].to_list() == total[kept].tolist()
    if operation == "mean":
        assert found["partial_count"].to_list() == stored[kept].tolist()


def test_plans_are_read_in_parts(halved_array, monkeypatch):
    monkeypatch.setattr(fragment_processor, "_PART_VALUES", 40)
    processor = FragmentProcessor(halved_array)
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


def test_plans_are_kept(halved_array):
    processor = FragmentProcessor(halved_array)
    plan = processor.build_lazy_pipeline_smart("sum", axis=0)
    assert processor.build_lazy_pipeline_smart("sum", axis=0) is plan
    assert processor.build_lazy_pipeline_smart("sum", axis=1) is not plan
    processor.clear_cache()
    assert processor.build_lazy_pipeline_smart("sum", axis=0) is not plan
    unkept = FragmentProcessor(halved_array, enable_caching=False)
    assert unkept.build_lazy_pipeline("log1p") is not unkept.build_lazy_pipeline("log1p")


def test_plans_that_cannot_be(halved_array):
    processor = FragmentProcessor(halved_array)
    with pytest.raises(ValueError, match="Unknown operation: median"):
        processor.build_lazy_pipeline("median")
    with pytest.raises(SlafError, match="`log1p` has no option `base`"):
        processor.build_lazy_pipeline("log1p", base=2)
    with pytest.raises(SlafError, match="axes 0 and 1"):
        processor.build_lazy_pipeline("sum", axis=2)
    with pytest.raises(SlafError, match="layer_name"):
        FragmentProcessor(halved_array, table_name="layers")


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
