"""Each display, as `snapshots` keeps it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import make_counts
from display_checks import info_of, same_as_kept
from slaf import SLAFArray, _slaf, read_slaf
from slaf.dataset import dataset_of
from slaf.ground.sparse_display import sparse_display
from slaf.integrations.scanpy import pp
from slaf.ml.dataloaders import SLAFDataLoader
from slaf.ml.tokenizers import GeneformerTokenizer
from slaf.sql.session import session_of


def test_a_handle(rich_slaf):
    handle = read_slaf(rich_slaf)
    same_as_kept("handle", handle._repr_html_(), repr(handle), rich_slaf)


def test_a_handle_that_was_worked_with(rich_slaf):
    handle = read_slaf(rich_slaf)
    _ = handle.obs["score"]
    handle.obs["leiden"] = pd.Categorical(["a", "b", "a"] * 20)
    handle.obs["n_genes"] = handle.obs["n_genes"] + 1
    del handle.obs["donor"]
    handle.obsm["X_new"] = np.zeros((60, 2))
    del handle.obsp["near"]
    handle.uns["params"] = {"resolution": 0.5, "seeds": [1, 2, 3]}
    handle.uns["kinds"] = {"a", "b"}
    pp.normalize_total(handle)
    pp.log1p(handle)
    same_as_kept("handle_changed", handle._repr_html_(), repr(handle), rich_slaf)
    assert "pending: normalize_total → log1p" in repr(handle)


def test_a_view(rich_slaf):
    view = read_slaf(rich_slaf)[5:15, :7]
    same_as_kept("view", view._repr_html_(), repr(view), rich_slaf)


def test_a_dataset(rich_slaf):
    array = SLAFArray(rich_slaf)
    text = info_of(array)
    same_as_kept("dataset", array._repr_html_(), text, rich_slaf)


def test_a_lazy_matrix(rich_slaf):
    matrix = pp.log1p(read_slaf(rich_slaf), copy=True).X[:10]
    same_as_kept("lazy_matrix", matrix._repr_html_(), repr(matrix), rich_slaf)


def test_a_frame(rich_slaf):
    frame = read_slaf(rich_slaf).obs
    same_as_kept("frame", frame._repr_html_(), repr(frame.iloc[:2]), rich_slaf)


@pytest.mark.parametrize("format", ["csr", "csc"])
def test_a_sparse_matrix(rich_slaf, format):
    matrix = read_slaf(rich_slaf)[3:30, 2:].X.compute(format=format)
    same_as_kept(f"sparse_{format}", *sparse_display(matrix))


def test_an_answer(rich_slaf):
    answer = session_of(dataset_of(SLAFArray(rich_slaf))).run(
        "SELECT cell_id, cell_type, batch, n_genes, doublet, score, age, X_pca FROM cells"
    )
    same_as_kept("answer", answer._repr_html_(), repr(answer))


def test_a_plan(rich_slaf):
    lines = SLAFArray(rich_slaf).query(
        "EXPLAIN SELECT cell_type, AVG(value) FROM expression "
        "JOIN cells USING (cell_integer_id) GROUP BY 1"
    )["plan"]
    same_as_kept("plan", *_slaf.draw_plan(lines.to_list()))


def test_hits(rich_slaf):
    found = read_slaf(rich_slaf).obsm.search("X_pca", "cell-7", k=4)
    same_as_kept("hits", found._repr_html_(), repr(found))


def test_tokens_of_a_cell(rich_slaf):
    tokens = GeneformerTokenizer(SLAFArray(rich_slaf), max_genes=12).tokens_of("cell-7")
    same_as_kept("tokens", tokens._repr_html_(), repr(tokens))
    x = make_counts().X[7].toarray()[0]
    genes = tokens.frame.dropna()
    assert len(genes) == min(10, tokens.expressed) and tokens.expressed == (x > 0).sum()
    names = [f"ENSG{i:05d}" for i in range(40)]
    assert [x[names.index(name)] for name in genes["gene"]] == genes["count"].to_list()
    with pytest.raises(KeyError):
        GeneformerTokenizer(SLAFArray(rich_slaf)).tokens_of("nobody")


def test_a_loader(rich_slaf):
    loader = SLAFDataLoader(
        SLAFArray(rich_slaf), batch_size=16, raw_mode=True, labels=["cell_type"], verbose=False
    )
    same_as_kept("loader", loader._repr_html_(), repr(loader), rich_slaf)
