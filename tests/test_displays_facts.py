"""What displays say is so, and nothing of X is read for them."""

from __future__ import annotations

import json
import re
import shutil
import sys

import anndata as ad
import numpy as np
import pandas as pd
from conftest import make_counts, rich
from display_checks import checked, made
from slaf import SLAFArray, read_slaf
from slaf.data import SLAFConverter
from slaf.dataset import Dataset, dataset_of
from slaf.lazy.sources import StoredPairs, StoredX


def notes_of(path: str, axis: str) -> dict[str, dict]:
    notes = dataset_of(SLAFArray(path)).notes[axis]["columns"]
    return {note["name"]: note for note in notes}


def test_what_is_stored_about_columns(rich_slaf, tmp_path, monkeypatch):
    """Is what pandas says, of a frame and of a file that is read a few rows at a time."""
    adata = rich()
    adata.write_h5ad(tmp_path / "rich.h5ad")
    monkeypatch.setattr(sys.modules["slaf.ground.metadata.encode"], "_COUNTED", 7)
    SLAFConverter().convert(tmp_path / "rich.h5ad", tmp_path / "ranges.slaf")
    # anndata has written text that repeats itself as categories.
    written = ad.read_h5ad(tmp_path / "rich.h5ad").obs
    for stored, obs in ((rich_slaf, rich().obs), (str(tmp_path / "ranges.slaf"), written)):
        notes = notes_of(stored, "obs")
        for name, column in obs.items():
            if isinstance(column.dtype, pd.CategoricalDtype):
                counts = column.value_counts()
                told = zip(notes[name]["categories"], notes[name]["counts"], strict=True)
                assert dict(told) == counts.to_dict()
            elif pd.api.types.is_numeric_dtype(column) and column.dtype.name not in (
                "bool",
                "boolean",
            ):
                low, high, missing = notes[name]["ends"]
                assert missing == column.isna().sum()
                assert (low, high) == (column.min(), column.max())
            else:
                assert not notes[name].keys() & {"ends", "counts"}


def test_a_palette_is_beside_its_names(rich_slaf):
    html = read_slaf(rich_slaf)._repr_html_()
    colours = dict(zip(["B cells", "NK", "T cells"], rich().uns["cell_type_colors"], strict=True))
    counts = rich().obs["cell_type"].value_counts()
    for name, colour in colours.items():
        beside = f'"background:{colour}"></span>{name} <span class="dim">{counts[name]}</span>'
        assert beside in html
    # A part has lost a category, and its colour.
    adata = rich()
    kept = adata.obs["cell_type"].isin(["NK", "T cells"]).to_numpy()
    part = read_slaf(rich_slaf)[kept]
    assert set(part.obs["cell_type"].cat.categories) == {"NK", "T cells"}
    html = part._repr_html_()
    assert f"background:{colours['B cells']}" not in html
    for name in ("NK", "T cells"):
        assert f'"background:{colours[name]}"></span>{name} ' in html


def test_infinite_numbers_have_no_ends(tmp_path):
    adata = make_counts()
    adata.obs["score"] = np.r_[np.inf, np.arange(59)]
    assert notes_of(made(tmp_path, adata, "infinite.slaf"), "obs")["score"]["ends"] == [
        None,
        None,
        0,
    ]


def test_counts_follow_what_is_saved_and_appended(tmp_path):
    target = made(tmp_path, make_counts(), "grows.slaf")
    handle = read_slaf(target)
    handle.obs["cell_type"] = pd.Categorical(["new"] * 60)
    handle.save()
    assert 'new <span class="dim">60</span>' in read_slaf(target)._repr_html_()


def test_old_datasets_have_no_counts(tmp_path, rich_slaf):
    """What an earlier version wrote: categories without counts."""
    old = tmp_path / "old.slaf"
    shutil.copytree(rich_slaf, old)
    for file in (old / "config.json", *old.glob("versions/*.json")):
        config = json.loads(file.read_text())
        for column in config["slaf"]["obs"]["columns"]:
            column.pop("counts", None)
            column.pop("ends", None)
        file.write_text(json.dumps(config))
    html = read_slaf(str(old))._repr_html_()
    assert "3 categories" in html and "T cells</span>" in html


def test_what_was_read_is_in_memory(rich_slaf):
    handle = read_slaf(rich_slaf)
    cells = lambda: dict(zip(c := checked(handle._repr_html_()).cells, c[3:], strict=False))  # noqa: E731
    assert re.fullmatch(r"[\d.]+ (bytes|kB)", cells()["score"])
    _ = handle.obs["score"]
    assert cells()["score"] == "in memory"
    assert "unsaved" not in handle._repr_html_()
    handle.obs["score"] = 1.0
    assert cells()["score"] == "changed here"
    assert "obs: score" in handle._repr_html_()


def test_uns_is_not_handed_out_to_be_shown(rich_slaf):
    handle = read_slaf(rich_slaf)
    first = handle._repr_html_()
    handle.uns["deep"]["er"] = [9]
    assert "unsaved" not in first and "uns: deep" in handle._repr_html_()


def test_what_an_export_has_no_place_for(rich_slaf):
    handle = read_slaf(rich_slaf)
    handle.uns["f"] = print
    handle.obs["mixed"] = pd.Series([1, "a"] * 30, index=handle.obs_names, dtype=object)
    html = handle._repr_html_()
    assert "An export has no place for uns/f as it is: cannot be stored." in html
    assert "An export has no place for obs/mixed as it is: mixed-integer as text." in html


def test_raw_is_a_part_of_the_tree(rich_slaf, tmp_path):
    there = tmp_path / "copy.slaf"
    shutil.copytree(rich_slaf, there)
    handle = read_slaf(str(there))
    raw = handle[:7]._repr_html_().partition(">raw</b>")[2]
    assert raw.index("7 cells × 40 genes") < raw.index("7 × 40") < raw.index("symbol")
    handle.var["mixed"] = [1, "a"] * 20
    handle.raw = handle
    del handle.var["mixed"]
    html = handle._repr_html_()
    checked(html)
    assert "An export has no place for raw.var/mixed as it is: mixed-integer as text." in html
    # A raw that is damaged does not hide the rest.
    shutil.rmtree(there / "raw")
    html = read_slaf(str(there))._repr_html_()
    assert "stored, and cannot be opened: There is nothing at" in html


def test_a_new_dataset_without_cells_has_nothing_unsaved(tmp_path):
    html = read_slaf(made(tmp_path, make_counts()[:0].copy(), "none.slaf"))._repr_html_()
    assert "0 cells × 40 genes" in html
    assert "unsaved" not in html and "set here" not in html


def test_nothing_of_x_is_read(rich_slaf, tmp_path, monkeypatch):
    """Neither by calls, nor from the files: they are gone."""
    there = tmp_path / "gone.slaf"
    shutil.copytree(rich_slaf, there)
    handle, array = read_slaf(str(there)), SLAFArray(str(there))
    things = [handle, handle[3:9], handle.X, handle.layers["log"], array]
    for name in ("expression.lance", "expression_by_gene.lance"):
        shutil.rmtree(there / name / "data")

    def refused(*args, **kwargs):
        raise AssertionError("X is read")

    for kind in (StoredX, StoredPairs):
        monkeypatch.setattr(kind, "csr", refused)
    for name in ("csr", "matrix_csr", "vector", "column"):
        monkeypatch.setattr(Dataset, name, refused)
    for thing in things[:2]:
        checked(thing._repr_html_())
        repr(thing)
    checked(array._repr_html_())
    monkeypatch.undo()
    monkeypatch.setattr(StoredX, "csr", refused)
    for thing in things[2:4]:
        checked(thing._repr_html_())
        repr(thing)
