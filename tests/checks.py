"""Checks that several test files use."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import dense
from slaf import _slaf


def assert_same(got: ad.AnnData, want: ad.AnnData) -> None:
    np.testing.assert_array_equal(dense(got.X), dense(want.X))
    assert got.X.dtype == want.X.dtype
    pd.testing.assert_frame_equal(got.obs, want.obs)
    pd.testing.assert_frame_equal(got.var, want.var)
    for section in ("obsm", "varm", "obsp", "varp", "layers"):
        # In anndata 0.13, X is the layer without a name.
        ours, theirs = (
            {k: v for k, v in getattr(a, section).items() if k is not None} for a in (got, want)
        )
        assert set(ours) == set(theirs), section
        for key, value in theirs.items():
            if isinstance(value, pd.DataFrame):
                pd.testing.assert_frame_equal(ours[key], value)
            else:
                np.testing.assert_array_equal(dense(ours[key]), dense(value), err_msg=key)
                assert ours[key].dtype == value.dtype, key
    assert_same_value(dict(got.uns), dict(want.uns))


def assert_same_value(got, want) -> None:
    if isinstance(want, dict):
        assert set(got) == set(want)
        for key in want:
            assert_same_value(got[key], want[key])
    elif isinstance(want, pd.DataFrame):
        pd.testing.assert_frame_equal(got, want)
    else:
        np.testing.assert_array_equal(dense(got), dense(want))


def refusal(error, act, *arguments) -> str:
    with pytest.raises(error) as raised:
        act(*arguments)
    message = str(raised.value)
    assert "panic" not in message and message.rstrip()[-1] in ".?`)"
    assert "\n" not in message
    return message


def matrix_of(table: pl.DataFrame, adata: ad.AnnData, value: str = "value") -> np.ndarray:
    """A long table as a matrix, with zeros where it has no row."""
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


def problems(dataset: Path, version: int | None = None) -> list[str]:
    """The problems that `slaf validate` finds."""
    checks = _slaf.validate(_slaf.Dataset(str(dataset), version))
    return [f"{what}: {problem}" for what, problem in checks if problem]
