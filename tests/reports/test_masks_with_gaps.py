"""Masks with missing values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import make_counts
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf

MASK = np.arange(60) % 3 == 0

WHOLE = {
    "nullable series": pd.Series(pd.array(MASK, dtype="boolean")),
    "nullable array": pd.array(MASK, dtype="boolean"),
    "objects": MASK.astype(object),
    "series of objects": pd.Series(MASK.astype(object)),
    "list": MASK.tolist(),
}


def gaps(mask):
    mask = mask.copy()
    mask[4] = None
    return mask


@pytest.fixture(scope="module")
def handle(tmp_path_factory):
    path = tmp_path_factory.mktemp("masks") / "x.slaf"
    SLAFConverter().convert_anndata(make_counts(), path)
    return read_slaf(path)


@pytest.mark.parametrize("kind", WHOLE)
def test_a_nullable_mask_without_gaps_is_a_mask(handle, kind):
    """scverse/anndata#1331 a list of bools selects other rows"""
    assert handle[WHOLE[kind]].obs_names.tolist() == handle.obs_names[MASK].tolist()


@pytest.mark.parametrize("kind", list(WHOLE)[:4])
def test_missing_entries_of_a_mask_were_taken_as_false_or_as_names(handle, kind):
    """pandas-dev/pandas#31537 masks with missing values"""
    with pytest.raises(IndexError, match="1 of the 60 entries"):
        handle[gaps(WHOLE[kind])]
