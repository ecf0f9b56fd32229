"""What things look like: HTML as it is kept in `snapshots`, hostile and extreme data,
limits of size, and that nothing of X is read. `SLAF_SNAPSHOTS=write` keeps anew what
is drawn now."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import re
import shutil
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import make_counts, rich
from scipy import sparse
from slaf import SLAFArray, _slaf, read_slaf
from slaf.data import SLAFConverter
from slaf.dataset import Dataset, dataset_of
from slaf.ground.sparse_display import sparse_display
from slaf.integrations.scanpy import pp
from slaf.lazy.sources import StoredPairs, StoredX
from slaf.ml.dataloaders import SLAFDataLoader
from slaf.ml.tokenizers import GeneformerTokenizer
from slaf.sql.session import session_of

SNAPSHOTS = Path(__file__).parent / "snapshots"
LIMIT = 50_000

NASTY = [
    "<script>alert(1)</script>",
    "\"quoted\" & 'single'",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "</details></table></div>",
    "x" * 10_000,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("displays")


@pytest.fixture(scope="module")
def path(folder) -> str:
    """A dataset with something in every section."""
    target = folder / "rich.slaf"
    SLAFConverter().convert_anndata(rich(), target)
    return str(target)


def made(folder, adata: ad.AnnData, name: str) -> str:
    SLAFConverter().convert_anndata(adata, folder / name)
    return str(folder / name)


def unchanging(html: str, *paths: str) -> str:
    """HTML without its style, and without what is another each time."""
    html = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    for path in paths:
        html = html.replace(path, "PATH")
    html = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "DATE", html)
    return re.sub(r"\d+ ms", "N ms", html)


def same_as_kept(name: str, html: str, text: str, *paths: str) -> None:
    checked(html)
    # A tag a line: differences are seen.
    drawn = unchanging(html, *paths).replace("><", ">\n<")
    drawn = f"{drawn}\n\n{unchanging(text, *paths)}\n"
    kept = SNAPSHOTS / f"{name}.html"
    if os.environ.get("SLAF_SNAPSHOTS") == "write":
        kept.write_text(drawn)
    assert drawn == kept.read_text()


class Markup(HTMLParser):
    """Tags of a display, which close in order, and texts of its table cells."""

    KNOWN = frozenset(
        "div style b span table thead tbody tr th td br details summary svg path rect title code pre".split()
    )

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag, attrs):
        assert tag in self.KNOWN, tag
        assert not any(name.startswith("on") or name == "href" for name, _ in attrs)
        if tag != "br":
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.cells and self.open[-1] not in ("style", "title"):
            self.cells[-1] += data


def checked(html: str) -> Markup:
    """Well-formed, short, without scripts and without what is not seen."""
    markup = Markup()
    markup.feed(html)
    markup.close()
    assert markup.open == []
    assert len(html.encode()) <= LIMIT
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
    return markup


# Each display, as it is kept ---------------------------------------------------


def test_a_handle(path):
    handle = read_slaf(path)
    same_as_kept("handle", handle._repr_html_(), repr(handle), path)


def test_a_handle_that_was_worked_with(path):
    handle = read_slaf(path)
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
    same_as_kept("handle_changed", handle._repr_html_(), repr(handle), path)
    assert "pending: normalize_total → log1p" in repr(handle)


def test_a_view(path):
    view = read_slaf(path)[5:15, :7]
    same_as_kept("view", view._repr_html_(), repr(view), path)


def test_a_dataset(path):
    array = SLAFArray(path)
    text = info_of(array)
    same_as_kept("dataset", array._repr_html_(), text, path)


def info_of(array) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        array.info()
    return said.getvalue()


def test_a_lazy_matrix(path):
    matrix = pp.log1p(read_slaf(path), copy=True).X[:10]
    same_as_kept("lazy_matrix", matrix._repr_html_(), repr(matrix), path)


def test_a_frame(path):
    frame = read_slaf(path).obs
    same_as_kept("frame", frame._repr_html_(), repr(frame.iloc[:2]), path)


@pytest.mark.parametrize("format", ["csr", "csc"])
def test_a_sparse_matrix(path, format):
    matrix = read_slaf(path)[3:30, 2:].X.compute(format=format)
    same_as_kept(f"sparse_{format}", *sparse_display(matrix))


def test_an_answer(path):
    answer = session_of(dataset_of(SLAFArray(path))).run(
        "SELECT cell_id, cell_type, batch, n_genes, doublet, score, age, X_pca FROM cells"
    )
    same_as_kept("answer", answer._repr_html_(), repr(answer))


def test_a_plan(path):
    lines = SLAFArray(path).query(
        "EXPLAIN SELECT cell_type, AVG(value) FROM expression "
        "JOIN cells USING (cell_integer_id) GROUP BY 1"
    )["plan"]
    same_as_kept("plan", *_slaf.draw_plan(lines.to_list()))


def test_hits(path):
    found = read_slaf(path).obsm.search("X_pca", "cell-7", k=4)
    same_as_kept("hits", found._repr_html_(), repr(found))


def test_tokens_of_a_cell(path):
    tokens = GeneformerTokenizer(SLAFArray(path), max_genes=12).tokens_of("cell-7")
    same_as_kept("tokens", tokens._repr_html_(), repr(tokens))
    x = make_counts().X[7].toarray()[0]
    genes = tokens.frame.dropna()
    assert len(genes) == min(10, tokens.expressed) and tokens.expressed == (x > 0).sum()
    names = [f"ENSG{i:05d}" for i in range(40)]
    assert [x[names.index(name)] for name in genes["gene"]] == genes["count"].to_list()
    with pytest.raises(KeyError):
        GeneformerTokenizer(SLAFArray(path)).tokens_of("nobody")


def test_a_loader(path):
    loader = SLAFDataLoader(
        SLAFArray(path), batch_size=16, raw_mode=True, labels=["cell_type"], verbose=False
    )
    same_as_kept("loader", loader._repr_html_(), repr(loader), path)


# What is said is so --------------------------------------------------------------


def notes_of(path: str, axis: str) -> dict[str, dict]:
    notes = dataset_of(SLAFArray(path)).notes[axis]["columns"]
    return {note["name"]: note for note in notes}


def test_what_is_stored_about_columns(path, folder, monkeypatch):
    """Is what pandas says, of a frame and of a file that is read a few rows at a time."""
    adata = rich()
    adata.write_h5ad(folder / "rich.h5ad")
    monkeypatch.setattr(sys.modules["slaf.ground.metadata.encode"], "_COUNTED", 7)
    SLAFConverter().convert(folder / "rich.h5ad", folder / "ranges.slaf")
    # anndata has written text that repeats itself as categories.
    written = ad.read_h5ad(folder / "rich.h5ad").obs
    for stored, obs in ((path, rich().obs), (str(folder / "ranges.slaf"), written)):
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


def test_a_palette_is_beside_its_names(path):
    html = read_slaf(path)._repr_html_()
    colours = dict(zip(["B cells", "NK", "T cells"], rich().uns["cell_type_colors"], strict=True))
    counts = rich().obs["cell_type"].value_counts()
    for name, colour in colours.items():
        beside = f'"background:{colour}"></span>{name} <span class="dim">{counts[name]}</span>'
        assert beside in html
    # A part has lost a category, and its colour.
    adata = rich()
    kept = adata.obs["cell_type"].isin(["NK", "T cells"]).to_numpy()
    part = read_slaf(path)[kept]
    assert set(part.obs["cell_type"].cat.categories) == {"NK", "T cells"}
    html = part._repr_html_()
    assert f"background:{colours['B cells']}" not in html
    for name in ("NK", "T cells"):
        assert f'"background:{colours[name]}"></span>{name} ' in html


def test_infinite_numbers_have_no_ends(folder):
    adata = make_counts()
    adata.obs["score"] = np.r_[np.inf, np.arange(59)]
    assert notes_of(made(folder, adata, "infinite.slaf"), "obs")["score"]["ends"] == [None, None, 0]


def test_counts_follow_what_is_saved_and_appended(folder):
    target = made(folder, make_counts(), "grows.slaf")
    handle = read_slaf(target)
    handle.obs["cell_type"] = pd.Categorical(["new"] * 60)
    handle.save()
    assert 'new <span class="dim">60</span>' in read_slaf(target)._repr_html_()


def test_old_datasets_have_no_counts(folder, path):
    """What an earlier version wrote: categories without counts."""
    old = folder / "old.slaf"
    shutil.copytree(path, old)
    for file in (old / "config.json", *old.glob("versions/*.json")):
        config = json.loads(file.read_text())
        for column in config["slaf"]["obs"]["columns"]:
            column.pop("counts", None)
            column.pop("ends", None)
        file.write_text(json.dumps(config))
    html = read_slaf(str(old))._repr_html_()
    assert "3 categories" in html and "T cells</span>" in html


def test_what_was_read_is_in_memory(path):
    handle = read_slaf(path)
    cells = lambda: dict(zip(c := checked(handle._repr_html_()).cells, c[3:], strict=False))  # noqa: E731
    assert re.fullmatch(r"[\d.]+ (bytes|kB)", cells()["score"])
    _ = handle.obs["score"]
    assert cells()["score"] == "in memory"
    assert "unsaved" not in handle._repr_html_()
    handle.obs["score"] = 1.0
    assert cells()["score"] == "changed here"
    assert "obs: score" in handle._repr_html_()


def test_uns_is_not_handed_out_to_be_shown(path):
    handle = read_slaf(path)
    first = handle._repr_html_()
    handle.uns["deep"]["er"] = [9]
    assert "unsaved" not in first and "uns: deep" in handle._repr_html_()


def test_what_an_export_has_no_place_for(path):
    handle = read_slaf(path)
    handle.uns["f"] = print
    handle.obs["mixed"] = pd.Series([1, "a"] * 30, index=handle.obs_names, dtype=object)
    html = handle._repr_html_()
    assert "An export has no place for uns/f as it is: cannot be stored." in html
    assert "An export has no place for obs/mixed as it is: mixed-integer as text." in html


# Nothing of X is read -----------------------------------------------------------


def test_nothing_of_x_is_read(path, folder, monkeypatch):
    """Neither by calls, nor from the files: they are gone."""
    there = folder / "gone.slaf"
    shutil.copytree(path, there)
    handle, array = read_slaf(str(there)), SLAFArray(str(there))
    things = [handle, handle[3:9], handle.X, handle.layers["log"], array]
    for name in ("expression.lance", "expression_by_gene.lance", "layers.lance"):
        if name != "layers.lance":
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


# Hostile and extreme data -------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(folder) -> str:
    adata = make_counts()
    names = NASTY
    for at, name in enumerate(names):
        adata.obs[name] = pd.Categorical([names[(at + i) % len(names)] for i in range(60)])
        adata.obsm[name] = np.zeros((60, 2), np.float32)
        adata.uns[name.replace("/", "|")] = {"inside": name, "list": names}
    adata.uns[f"{names[0]}_colors".replace("/", "|")] = ["red;background:url(x)"] * len(names)
    adata.obs_names = [f"{names[i % len(names)]}{i}" for i in range(60)]
    adata.var_names = [f"{names[i % len(names)]}{i}" for i in range(40)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made(folder, adata, "a'b\"<i>.slaf")


def test_hostile_names_stay_text(hostile):
    handle = read_slaf(hostile)
    found = handle.obsm.search(NASTY[0], handle.obs_names[0], k=3)
    matrix = handle.X[:30].compute()
    frame = pa.table({name: NASTY for name in NASTY})
    drawn = [
        handle._repr_html_(),
        handle[:9]._repr_html_(),
        handle.X._repr_html_(),
        handle.obs._repr_html_(),
        SLAFArray(hostile)._repr_html_(),
        found._repr_html_(),
        sparse_display(matrix)[0],
        _slaf.draw_table(frame, NASTY[0])[0],
        _slaf.draw_plan(NASTY)[0],
    ]
    for html in drawn:
        checked(html)
        assert "<script" not in html and "background:red" not in html
    assert "&lt;script&gt;" in drawn[0]
    for text in (repr(handle), repr(found), _slaf.draw_table(frame, "")[1], info_of(handle.slaf)):
        assert "\x1b" not in text and "\u202e" not in text


def test_long_texts_are_cut_and_whole_in_a_tooltip():
    long = "start " + "y" * 500 + " end"
    html, text = _slaf.draw_table(pa.table({"t": [long, "short"]}), "")
    assert f'title="{long}"' in html
    assert "start yy" in text and "end" not in text


def _extremes() -> dict[str, ad.AnnData]:
    def over(x, **more):
        x = np.asarray(x, np.float32)
        obs = pd.DataFrame(index=[f"c{i}" for i in range(x.shape[0])])
        var = pd.DataFrame(index=[f"g{i}" for i in range(x.shape[1])])
        return ad.AnnData(sparse.csr_matrix(x), obs=obs, var=var, **more)

    wide = over(np.eye(30, 20))
    wide.obs = pd.DataFrame(
        {f"column_{i}": np.arange(30) + i for i in range(1500)}, index=wide.obs_names
    )
    many = over(np.eye(600, 5))
    many.obs["kind"] = pd.Categorical([f"kind {i % 300}" for i in range(600)])
    gaps = over([[np.nan, 1], [0, np.inf]])
    gaps.obs["all_missing"] = [np.nan, np.nan]
    return {
        "one_row": over([[1, 0, 2]]),
        "all_zero": over(np.zeros((5, 4))),
        "nan": gaps,
        "1500_columns": wide,
        "300_categories": many,
    }


@pytest.mark.parametrize("name", ["one_row", "all_zero", "nan", "1500_columns", "300_categories"])
def test_extremes(folder, name):
    target = made(folder, _extremes()[name], f"{name}.slaf")
    handle = read_slaf(target)
    same_as_kept(f"{name}_handle", handle._repr_html_(), repr(handle), target)
    matrix = handle.X.compute()
    same_as_kept(f"{name}_sparse", *sparse_display(matrix))
    for html in (
        handle.obs._repr_html_(),
        handle[:0]._repr_html_(),
        handle[:0].obs._repr_html_(),
        SLAFArray(target)._repr_html_(),
        sparse_display(matrix[:0])[0],
        sparse_display(matrix[:, :0].tocsc())[0],
    ):
        checked(html)


def test_kinds_of_columns_in_an_answer():
    """Every kind of column that an answer can have, with missing values."""
    table = pa.table(
        {
            "day": [dt.date(2024, 1, 1), None, dt.date(2024, 3, 1)],
            "moment": [dt.datetime(2024, 1, 1, 12), None, dt.datetime(2024, 1, 2)],
            "list": [[1, 2, 3, 4, 5], None, []],
            "vector": pa.array([[0.5, 1], None, [2, 3]], pa.list_(pa.float32(), 2)),
            "struct": [{"a": 1, "b": "x"}, None, {"a": 2, "b": "y"}],
            "flag": [True, None, False],
            "null": pa.nulls(3),
            "big": pa.array([2**63, None, 0], pa.uint64()),
            "odd": [float("nan"), float("inf"), 1.5],
            "word": pa.array(["a", None, "a"]).dictionary_encode(),
            "bytes": [b"\x00\xff", None, b""],
        }
    )
    same_as_kept("kinds", *_slaf.draw_table(table, ""))


def test_a_picture_of_many_values_is_of_some():
    matrix = sparse.random(4000, 1000, 0.1, "csr", random_state=0)
    html, text = sparse_display(matrix)
    checked(html)
    assert f"{matrix.nnz:,} stored (10 %)" in text
    assert "of 2,000 of the rows" in text
    turned = sparse_display(matrix.tocsc())[1]
    assert f"{matrix.nnz:,} stored (10 %)" in turned and "of the columns" in turned
