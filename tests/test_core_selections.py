"""`filter_cells`, `get_cell_expression`, `get_submatrix` and other methods of slafdb's
`SLAFArray`, compared with AnnData."""

from __future__ import annotations

import sys
import types

import numpy as np
import pandas as pd
import polars as pl
import pytest
from checks import matrix_of
from conftest import dense
from scipy import sparse
from slaf import SlafError
from slaf.array import SLAFArray
from slaf.core.slaf import display_ascii_art

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
def test_filter_cells(halved_array, halved, filters, expected):
    found = halved_array.filter_cells(**filters)
    wanted = np.asarray(expected(halved.obs), dtype=bool)
    assert found["cell_id"].to_list() == list(halved.obs_names[wanted])
    assert found.columns == halved_array.obs.columns
    assert "X_pca" not in found.columns


def test_filter_genes(halved_array, halved):
    assert halved_array.filter_genes(mt=True)["gene_id"].to_list() == list(
        halved.var_names[halved.var.mt]
    )
    assert halved_array.filter_genes(symbol=["G3", "G1"])["gene_integer_id"].to_list() == [1, 3]


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
def test_a_filter_that_cannot_be(halved_array, filters, says):
    with pytest.raises(SlafError, match=says):
        halved_array.filter_cells(**filters)


def test_a_filter_is_no_sql(counts, convert):
    counts.obs["batch"] = ["'; DROP TABLE cells; --", "a $filter_0 {{x}}", '"'] * 20
    counts.obs['a "b" $c'] = range(60)
    array = SLAFArray(convert(counts))
    for value in counts.obs["batch"].unique():
        wanted = counts.obs_names[counts.obs["batch"] == value]
        assert array.filter_cells(batch=value)["cell_id"].to_list() == list(wanted)
    assert array.filter_cells(**{'a "b" $c': "< 2"})["cell_integer_id"].to_list() == [0, 1]


# Long tables -------------------------------------------------------------


def test_expression_of_cells(halved_array, halved):
    named = ["cell-40", "cell-3", "cell-7"]
    found = halved_array.get_cell_expression(named)
    wanted = halved[named].X.tocoo()
    assert found.columns == ["cell_id", "gene_id", "value"]
    assert found["cell_id"].to_list() == [named[i] for i in wanted.row]
    assert found["gene_id"].to_list() == list(halved.var_names[wanted.col])
    np.testing.assert_array_equal(found["value"].to_numpy(), wanted.data)
    one = halved_array.get_cell_expression("cell-7")
    assert one.equals(found.filter(pl.col("cell_id") == "cell-7"))
    none = halved_array.get_cell_expression([])
    assert none.shape == (0, 3) and none.schema == found.schema


def test_expression_of_genes(halved_array, halved):
    named = ["ENSG00030", "ENSG00005", "ENSG00002"]
    found = halved_array.get_gene_expression(named)
    kept = halved.copy()
    kept.X = dense(halved.X) * halved.var_names.isin(named)
    np.testing.assert_array_equal(matrix_of(found, halved), kept.X)
    cells = halved.obs_names.get_indexer(found["cell_id"].to_list())
    genes = halved.var_names.get_indexer(found["gene_id"].to_list())
    order = np.lexsort((genes, cells))
    np.testing.assert_array_equal(order, np.arange(len(found)))
    one = halved_array.get_gene_expression("ENSG00030")
    assert one["value"].sum() == dense(halved[:, "ENSG00030"].X).sum()


def test_expression_of_what_is_not_there(halved_array):
    with pytest.raises(KeyError, match="cell-400.*`cell-40`"):
        halved_array.get_cell_expression(["cell-1", "cell-400"])
    with pytest.raises(KeyError, match="'ENSG0003'.*`ENSG00003`"):
        halved_array.get_gene_expression("ENSG0003")


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
def test_submatrix(halved_array, halved, cells, genes, layer):
    table = {} if layer is None else {"table_name": "layers", "layer_name": layer}
    found = halved_array.get_submatrix(cells, genes, **table)
    everything = slice(None)
    part = halved[everything if cells is None else cells, everything if genes is None else genes]
    wanted = sparse.csr_matrix(part.X if layer is None else part.layers[layer])
    wanted.sort_indices()
    wanted = wanted.tocoo()
    assert found.columns == ["cell_id", "gene_id", "value"]
    assert found["cell_id"].to_list() == list(part.obs_names[wanted.row])
    assert found["gene_id"].to_list() == list(part.var_names[wanted.col])
    np.testing.assert_array_equal(found["value"].to_numpy(), wanted.data)


def test_submatrix_of_a_filter(halved_array, halved):
    cells = halved_array.filter_cells(cell_type="NK")
    found = halved_array.get_submatrix(cells)
    wanted = dense(halved.X) * (halved.obs["cell_type"] == "NK").to_numpy()[:, None]
    np.testing.assert_array_equal(matrix_of(found, halved), wanted)


def test_submatrix_of_what_is_not_there(halved_array):
    with pytest.raises(IndexError, match="60"):
        halved_array.get_submatrix([0, 60])
    with pytest.raises(SlafError, match="layer_name"):
        halved_array.get_submatrix(table_name="layers")
    with pytest.raises(SlafError, match="`halve`.*`half`"):
        halved_array.get_submatrix(table_name="layers", layer_name="halve")
    with pytest.raises(SlafError, match="'cells'"):
        halved_array.get_submatrix(table_name="cells")


def test_lance_tables(halved_array, monkeypatch):
    array = SLAFArray(halved_array.slaf_path)
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
