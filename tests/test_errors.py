"""Bad input at each entry point: one clear sentence, and nothing half-written."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
from checks import refusal
from conftest import make_counts
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf


@pytest.fixture
def copy(pbmc_slaf, tmp_path):
    return shutil.copytree(pbmc_slaf, tmp_path / "copy.slaf")


def test_no_such_path(tmp_path):
    assert "nothing at" in refusal(FileNotFoundError, SLAFArray, tmp_path / "none.slaf")


def test_an_address_of_no_known_kind():
    said = refusal(SlafError, SLAFArray, "s4://bucket/x.slaf")
    assert "There is no storage scheme `s4://`. Did you mean `s3` or" in said


def test_not_a_dataset(tmp_path):
    assert "no config.json" in refusal(SlafError, SLAFArray, tmp_path)
    file = tmp_path / "file.slaf"
    file.write_text("x")
    assert "a dataset is a folder" in refusal(SlafError, read_slaf, file)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"array_shape": [1]}',
        '{"array_shape": [1, 1], "tables": {}}',
        '{"array_shape": [-1, 1], "tables": {"cells": "c"}}',
        '{"array_shape": "x"}',
    ],
)
def test_a_wrong_config(copy, text):
    (copy / "config.json").write_text(text)
    assert "config.json" in refusal(SlafError, SLAFArray, copy)


def test_a_config_that_does_not_fit_its_tables(copy):
    path = copy / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"array_shape": [701, 765]}))
    assert "700 rows where config.json says 701" in refusal(SlafError, SLAFArray, copy)
    config["tables"]["genes"] = "elsewhere.lance"
    path.write_text(json.dumps(config))
    assert "elsewhere.lance" in refusal(SlafError, SLAFArray, copy)


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_a_truncated_table(copy, keep):
    for file in (copy / "expression.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:keep])

    def read():
        return SLAFArray(copy).query("SELECT SUM(value) FROM expression")

    refusal(SlafError, read)
    assert "expression" in refusal(SlafError, lambda: read_slaf(copy).X.compute())


def test_a_table_without_its_manifest(copy):
    shutil.rmtree(copy / "cells.lance" / "_versions")
    assert "cells" in refusal(SlafError, SLAFArray, copy)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(50)])
def test_what_is_no_h5ad(tmp_path, content):
    source = tmp_path / "x.h5ad"
    source.write_bytes(content)
    assert "is not an h5ad file" in refusal(
        SlafError, SLAFConverter().convert, source, tmp_path / "x.slaf"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5ad"]


def test_a_truncated_h5ad_leaves_nothing_behind(tmp_path):
    source = tmp_path / "x.h5ad"
    make_counts(500, 200).write_h5ad(source)
    source.write_bytes(source.read_bytes()[:-20_000])
    refusal(SlafError, SLAFConverter().convert, source, tmp_path / "x.slaf")
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5ad"]


def test_an_h5_file_that_is_no_anndata(tmp_path):
    source = tmp_path / "x.h5ad"
    with h5py.File(source, "w") as file:
        file["numbers"] = np.arange(5)
    refusal(SlafError, SLAFConverter().convert, source, tmp_path / "x.slaf")
    assert not (tmp_path / "x.slaf").exists()


def test_an_existing_target_is_kept_unless_told_otherwise(tmp_path, counts):
    converter, target = SLAFConverter(), tmp_path / "x.slaf"
    converter.convert_anndata(counts, target)
    smaller = counts[:10].copy()
    refusal(FileExistsError, converter.convert_anndata, smaller, target)
    assert SLAFArray(target).shape == counts.shape
    converter.convert_anndata(smaller, target, overwrite=True)
    assert SLAFArray(target).shape == smaller.shape
    assert [p.name for p in tmp_path.iterdir()] == ["x.slaf"]


def test_a_conversion_that_fails_keeps_the_old_dataset(tmp_path, counts):
    converter, target = SLAFConverter(), tmp_path / "x.slaf"
    converter.convert_anndata(counts, target)
    broken = counts.copy()
    broken.X = broken.X.astype(np.complex64)
    refusal(SlafError, lambda: converter.convert_anndata(broken, target, overwrite=True))
    assert SLAFArray(target).shape == counts.shape
    assert [p.name for p in tmp_path.iterdir()] == ["x.slaf"]
