"""Samples of cells, genes and counts: the same ones as scanpy draws in memory."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from fixtures_scanpy import dense, same_matrix
from slaf.integrations import read_slaf
from slaf.scanpy import pp

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.mark.parametrize(
    "options",
    [
        {"n": 100, "rng": 3},
        {"fraction": 0.1, "rng": 0, "axis": "var"},
        {"n": 900, "rng": 1, "replace": True},
        {"n": 50, "rng": 2, "p": "flag"},
        {"fraction": 0, "rng": 2},
    ],
    ids=str,
)
def test_samples(twins, options):
    ours, theirs = twins.both(lambda m, data: m.sample(data, copy=True, **options), pp, sc.pp)
    assert list(ours.obs_names) == list(theirs.obs_names)
    assert list(ours.var_names) == list(theirs.var_names)
    np.testing.assert_array_equal(dense(ours.X), dense(theirs.X))
    before = twins.handle.shape
    assert before == twins.adata.shape
    pp.sample(twins.handle, **options)
    assert list(twins.handle.obs_names) == list(theirs.obs_names)
    assert not twins.handle.is_view


def test_probabilities_of_cells(twins):
    p = np.random.default_rng(0).random(twins.handle.n_obs)
    ours, theirs = twins.both(
        lambda m, data: m.sample(data, n=9, rng=1, p=p / p.sum(), copy=True), pp, sc.pp
    )
    assert list(ours.obs_names) == list(theirs.obs_names)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("options", [{"n_obs": 33}, {"fraction": 0.2, "random_state": 9}], ids=str)
def test_subsamples(twins, options):
    ours, theirs = twins.both(lambda m, data: m.subsample(data, copy=True, **options), pp, sc.pp)
    assert list(ours.obs_names) == list(theirs.obs_names)
    pp.subsample(twins.handle, **options)
    assert list(twins.handle.obs_names) == list(theirs.obs_names)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({}, TypeError, "Give either"),
        ({"n": 3, "fraction": 0.1}, TypeError, "Give either"),
        ({"n": 701}, ValueError, "701 cannot be drawn of 700 without replacement"),
        ({"fraction": 1.5}, ValueError, "from 0 to 1, not 1.5"),
        ({"fraction": -1, "replace": True}, ValueError, "from 0 to 1"),
        ({"n": 3, "p": "flags"}, KeyError, "flags.*Did you mean.*flag"),
        ({"n": 3, "p": np.ones(5)}, ValueError, "of the 700 entries of obs"),
        ({"n": 3, "p": np.ones(700)}, ValueError, "sum to 1"),
        ({"n": 3, "p": np.zeros(700, bool)}, ValueError, "allows none"),
        ({"n": 3, "axis": "cells"}, ValueError, "not 'cells'"),
    ],
    ids=str,
)
def test_samples_that_cannot_be_drawn(real, options, error, told):
    with pytest.raises(error, match=told):
        pp.sample(read_slaf(real[0]), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"counts_per_cell": 300},
        {"counts_per_cell": 300, "random_state": 4, "replace": True},
        {"counts_per_cell": "each"},
        {"counts_per_cell": 10_000},
        {"total_counts": 50_000},
        {"total_counts": 10**9},
    ],
    ids=str,
)
def test_fewer_counts(twins, options):
    if options.get("counts_per_cell") == "each":
        options = {"counts_per_cell": np.arange(twins.handle.n_obs) + 100}
    twins.both(lambda m, data: m.downsample_counts(data, **options), pp, sc.pp)
    same_matrix(twins, rtol=0, atol=0)
    np.testing.assert_array_equal(twins.handle.X.sum(1), dense(twins.adata.X).sum(1))
    twins.both(lambda m, data: m.normalize_total(data, target_sum=1e4), pp, sc.pp)
    same_matrix(twins)


def test_fewer_counts_are_the_same_ones_each_time(real):
    handle = pp.downsample_counts(read_slaf(real[0]), 200, random_state=None, copy=True)
    np.testing.assert_array_equal(dense(handle.X), dense(handle.X))
    assert not handle.X.pending


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "one of"),
        ({"counts_per_cell": 3, "total_counts": 3}, "one of"),
        ({"counts_per_cell": [1, 2]}, "an integer, or one for each cell"),
        ({"counts_per_cell": 2.5}, "an integer, or one for each cell"),
    ],
    ids=str,
)
def test_counts_that_cannot_be_drawn(real, options, told):
    with pytest.raises(ValueError, match=told):
        pp.downsample_counts(read_slaf(real[0]), **options)


def test_logarithms_are_no_counts(logs):
    with pytest.raises(ValueError, match="no counts"):
        pp.downsample_counts(logs.handle, 100)
