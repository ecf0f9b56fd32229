"""Inputs for conversions, valid ones and bad ones."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import pytest
from checks import refusal
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf


@pytest.fixture
def h5ad(tmp_path):
    """Writes an AnnData as an h5ad file, and returns its path."""

    def write(adata: ad.AnnData, name: str) -> Path:
        path = tmp_path / f"{name}.h5ad"
        adata.write_h5ad(path)
        return path

    return write


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder for datasets alone, so that leftovers are noticed."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    return folder


@pytest.fixture
def converted(folder):
    """Converts inputs, and returns everything in the dataset."""

    def converted(source, **options) -> ad.AnnData:
        SLAFConverter().convert(source, folder / "made.slaf", overwrite=True, **options)
        return read_slaf(folder / "made.slaf").to_adata()

    return converted


@pytest.fixture
def refused(folder):
    """Returns why an input is rejected, and checks that nothing was left behind."""

    def refused(source, **options) -> str:
        def convert():
            SLAFConverter().convert(source, folder / "made.slaf", **options)

        message = refusal(SlafError, convert)
        assert list(folder.iterdir()) == []
        return message

    return refused
