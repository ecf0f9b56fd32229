"""What the engine counts while it works, for progress bars."""

from __future__ import annotations

import shutil

import pytest
from conftest import make_counts
from slaf import _slaf
from slafdb_calls import slafdb

WATCHED = {
    "index": lambda path, watch: _slaf.index(_slaf.Dataset(path), True, None, watch),
    "vacuum": lambda path, watch: _slaf.vacuum(path, 1, None, watch),
    "repair": lambda path, watch: _slaf.repair(_slaf.Dataset(path), watch),
    "upload": lambda path, watch: _slaf.upload(f"{path}/config.json", "memory://up/x", None, watch),
    "vectors": lambda path, watch: _slaf.index_vectors(
        _slaf.Dataset(path), "cells", "X_pca", "l2", 2, watch
    ),
}


@pytest.mark.parametrize("job", WATCHED)
def test_the_engine_counts_what_it_has_done(job, pbmc_slaf, tmp_path):
    path = tmp_path / "x.slaf"
    if job == "repair":
        # slafdb writes wrong offsets, because obs has a column with other counts.
        make_counts().write_h5ad(tmp_path / "x.h5ad")
        slafdb("convert", tmp_path / "x.h5ad", path)
    else:
        shutil.copytree(pbmc_slaf, path)
    told = []
    WATCHED[job](str(path), lambda *state: told.append(state))
    done, total = told[-1]
    assert done == total > 0
