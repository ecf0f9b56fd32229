"""A conversion that fails leaves nothing behind, and says what failed."""

from __future__ import annotations

import tempfile

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import make_counts
from scipy import sparse
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter


def many_counts() -> ad.AnnData:
    x = sparse.random(4000, 200, 0.2, "csr", random_state=0, dtype=np.float64)
    x.data = np.arange(x.nnz)
    names = pd.Index([f"c{i}" for i in range(x.shape[0])])
    return ad.AnnData(x.astype(np.int64), obs=pd.DataFrame(index=names))


def in_the_last_row(folder):
    """X is written for a while before a value comes that no float holds."""
    adata = many_counts()
    adata.X.data[-1] = 2**53 + 1
    return lambda: SLAFConverter().convert_anndata(adata, folder / "x.slaf")


def in_a_layer(folder):
    adata = many_counts()
    adata.layers["large"] = adata.X.copy()
    adata.layers["large"].data[-1] = 2**53 + 1
    return lambda: SLAFConverter().convert_anndata(adata, folder / "x.slaf")


def no_counts(folder):
    adata = make_counts(400)
    adata.X.data[-1] = 0.5
    return lambda: SLAFConverter().convert_anndata(adata, folder / "x.slaf", counts=True)


@pytest.mark.parametrize("failing", [in_the_last_row, in_a_layer, no_counts])
def test_directory_not_empty_hides_the_true_error(tmp_path, failing):
    """scverse/anndata#502 partially written files stay when writing fails"""
    convert = failing(tmp_path)
    for _ in range(70):
        with pytest.raises(SlafError):
            convert()
        assert list(tmp_path.iterdir()) == []


def test_a_temporary_directory_as_target():
    """slaf-project/slaf: its own tests convert into `tempfile.TemporaryDirectory()`"""
    with tempfile.TemporaryDirectory() as folder:
        SLAFConverter().convert_anndata(make_counts(), folder)
        assert SLAFArray(folder).shape == (60, 40)


def test_a_folder_with_something_in_it_is_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        SLAFConverter().convert_anndata(make_counts(), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
