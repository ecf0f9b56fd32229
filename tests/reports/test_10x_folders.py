"""Folders of Cell Ranger as people and servers pass them on: renamed, with several
samples, or rewritten by other software."""

from __future__ import annotations

import csv
import io

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.io
from inputs_of_tools import CELLS, IDS, NAMES, counts, lines, mtx, same, trio, write
from scipy import sparse
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.data.utils import discover_input_files


@pytest.mark.parametrize("given", ["GSM1_a_", "GSM1_a", "GSM1_a_matrix.mtx.gz", "."])
def test_files_of_geo_with_a_prefix(converted, tmp_path, given):
    """scverse/scanpy#3214, #1916"""
    folder = trio(tmp_path / "geo", "GSM1_a_")
    got = converted(folder / given)
    same(got, sc.read_10x_mtx(folder, prefix="GSM1_a_", gex_only=False))


@pytest.mark.parametrize("shared", [False, True])
def test_a_folder_with_files_of_several_samples(converted, tmp_path, shared):
    """scverse/scanpy#2161: one file of features for all samples"""
    folder = tmp_path / "geo"
    wanted = []
    for seed, name in enumerate(("N-1-Total", "N-2-Total")):
        trio(folder, f"GSM{seed}_{name}-", counts(seed))
        wanted.append(sc.read_10x_mtx(folder, prefix=f"GSM{seed}_{name}-", gex_only=False))
        if shared:
            file = folder / f"GSM{seed}_{name}-features.tsv.gz"
            file.rename(folder / "GSE161529_features.tsv.gz")
    got = converted(folder, unique_cells=True)
    files = ["GSM0_N-1-Total", "GSM1_N-2-Total"]
    assert list(got.obs["source_file"].unique()) == files
    np.testing.assert_array_equal(
        got.X.toarray(), sparse.vstack([want.X for want in wanted]).toarray()
    )
    found, kind = discover_input_files(str(folder))
    assert kind == "10x_mtx" and len(found) == 2
    with pytest.raises(SlafError, match="2 matrices: `GSM0"):
        SLAFConverter().convert(folder, tmp_path / "x.slaf", "10x_mtx")


def test_files_with_a_prefix_beside_other_inputs(converted, tmp_path):
    """None of the inputs of a folder is passed over"""
    folder = trio(tmp_path / "geo", "GSM1_a_")
    trio(folder / "GSM2", x=counts(1))
    sc.read_10x_mtx(folder / "GSM2", gex_only=False).write_h5ad(folder / "GSM3.h5ad")
    got = converted(folder, unique_cells=True)
    assert list(got.obs["source_file"].unique()) == ["GSM1_a", "GSM2", "GSM3.h5ad"]


def test_features_of_one_column(converted, tmp_path):
    """scverse/scanpy#2053 KeyError: 1, satijalab/seurat#1388"""
    folder = trio(tmp_path / "run", genes=lines(NAMES))
    got = converted(folder)
    assert list(got.var_names) == list(ad.utils.make_index_unique(pd.Index(NAMES)))
    assert list(got.var.columns) == []
    np.testing.assert_array_equal(got.X.toarray(), counts().toarray())


def test_features_of_a_name_and_a_kind(converted, tmp_path):
    """scverse/scanpy#1408 KeyError: 2"""
    got = converted(trio(tmp_path / "run", genes=lines(IDS, ["Gene Expression"] * len(IDS))))
    assert list(got.var_names) == IDS
    assert set(got.var["feature_types"]) == {"Gene Expression"}


def test_quotes_in_features_stand_as_they_are(converted, tmp_path):
    """scverse/scanpy: features.tsv with an odd quote swallows the lines after it"""
    names = ['"5S_rRNA', "3'", '"A" like', *NAMES[3:]]
    folder = trio(tmp_path / "run", genes=lines(IDS, names, ["Gene Expression"] * len(IDS)))
    want = pd.read_csv(folder / "features.tsv.gz", sep="\t", header=None, quoting=csv.QUOTE_NONE)
    got = converted(folder)
    assert list(got.var_names) == list(want[1])
    assert list(got.var["gene_ids"]) == list(want[0])


def test_quotes_around_everything_are_of_r(converted, tmp_path):
    """satijalab/seurat: write.table puts text in quotes, and pandas takes them off"""
    quoted = [f'"{name}"' for name in NAMES]
    folder = trio(tmp_path / "run", genes=lines(IDS, quoted), cells=[f'"{cell}"' for cell in CELLS])
    got = converted(folder)
    assert list(got.obs_names) == CELLS
    assert list(got.var_names)[1:3] == ["TBCE", "TBCE-1"]


def test_headings_and_more_columns(converted, tmp_path):
    """Files of GEO with a heading: one line more than the matrix has cells"""
    folder = trio(tmp_path / "run")
    write(folder / "barcodes.tsv.gz", "barcode\tsample\n" + lines(CELLS, ["s1"] * len(CELLS)))
    write(folder / "features.tsv.gz", "gene_id\tgene_name\n" + lines(IDS, NAMES))
    got = converted(folder)
    assert list(got.obs_names) == CELLS and set(got.obs["sample"]) == {"s1"}
    assert list(got.var["gene_ids"]) == IDS
    numbers = [str(i + 1) for i in range(len(CELLS))]
    write(folder / "barcodes.tsv.gz", lines(numbers, CELLS))
    got = converted(folder)
    assert list(got.obs_names) == CELLS and list(got.obs.columns) == []


def test_a_tab_at_the_end_of_each_line(converted, tmp_path):
    """satijalab/seurat#2740"""
    genes = lines(IDS, NAMES, [""] * len(IDS))
    got = converted(trio(tmp_path / "run", genes=genes, cells=[f"{c}\t" for c in CELLS]))
    assert list(got.var.columns) == ["gene_ids"] and list(got.obs.columns) == []
    assert list(got.obs_names) == CELLS


def test_one_barcode_too_many_is_no_heading(refused, tmp_path):
    """A cell is never taken for a heading"""
    assert "9 cells" in refused(trio(tmp_path / "run", cells=["AAAA-1", *CELLS]))


ODD = {
    "blanks": lambda t: t.replace(" ", "   "),
    "leading blanks": lambda t: t.replace("\n", "\n  ").replace("\n  %", "\n%"),
    "tabs": lambda t: "\n".join(
        line if line.startswith("%") else line.replace(" ", "\t") for line in t.split("\n")
    ),
    "blanks and tabs": lambda t: "\n".join(
        line if line.startswith("%") else line.replace(" ", " \t") for line in t.split("\n")
    ),
    "trailing blanks": lambda t: t.replace("\n", " \n"),
    "Windows": lambda t: t.replace("\n", "\r\n"),
    "Windows and blanks": lambda t: t.replace(" ", "  ").replace("\n", "\r\n"),
    "empty lines": lambda t: t + "\n\n  \n",
    "comments": lambda t: t.replace("\n%\n", "\n% a\n%b\n\n") + "% the end\n",
    "capitals": lambda t: t.replace("%%MatrixMarket matrix", "%%MATRIXMARKET MATRIX"),
    "unsigned": lambda t: t.replace("integer", "unsigned-integer"),
    "real": lambda t: t.replace("integer", "real"),
    "a mark": lambda t: "\ufeff" + t,
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("cells_first", [False, True])
def test_lines_as_other_software_writes_them(converted, tmp_path, kind, cells_first):
    """scverse/scanpy#1916, satijalab/seurat#1388 and others: blanks, ends of lines, sides"""
    x = counts()
    text = ODD[kind](mtx(x, "row") if cells_first else mtx(x.T))
    folder = trio(tmp_path / "run")
    write(folder / "matrix.mtx.gz", text)
    np.testing.assert_array_equal(converted(folder).X.toarray(), x.toarray())


def test_numbers_as_r_writes_them(converted, tmp_path):
    """write.table of R says 1e+05 for 100000"""
    x = sparse.csr_matrix(([7, 100_000, 3], ([0, 0, 1], [5, 99_999, 7])), shape=(2, 100_000))
    folder = trio(tmp_path / "run", x=x, cells=CELLS[:2], genes=lines(range(100_000)))
    write(folder / "matrix.mtx.gz", mtx(x.T).replace("\n100000 ", "\n1e+05 ", 2))
    assert (converted(folder).X != x).nnz == 0


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("by", ["row", "column"])
@pytest.mark.parametrize("kind", ["integer", "real", "pattern"])
def test_entries_that_are_there_twice_are_summed(converted, tmp_path, kind, by, odd):
    """scipy sums what a matrix.mtx has twice"""
    rng = np.random.default_rng(3)
    values = rng.integers(1, 9, 60) * (0.25 if kind == "real" else 1)
    place = rng.integers(0, 12, 60), rng.integers(0, 9, 60)
    text = mtx(sparse.coo_matrix((values, place), shape=(12, 9)), by)
    text = text.replace("integer", kind)
    if kind == "pattern":
        body = ["\t".join(line.split()[:2]) for line in text.split("\n")[3:]]
        text = "\n".join([*text.split("\n")[:3], *body])
    want = scipy.io.mmread(io.BytesIO(text.encode())).toarray().T
    folder = trio(tmp_path / "run")
    write(folder / "matrix.mtx.gz", text.replace(" ", "  ") if odd else text)
    np.testing.assert_array_equal(converted(folder, counts=False).X.toarray(), want)


def test_blanks_far_down_in_a_long_file(converted, tmp_path):
    """What was read before the odd line is not read twice"""
    x = sparse.random(800, 900, 0.7, format="csr", random_state=0, data_rvs=lambda n: np.full(n, 3))
    text = mtx(x.T.astype(int))
    assert len(text) > 4 << 20
    cut = text.rindex("\n", 0, -100)
    folder = trio(
        tmp_path / "run", x=x, cells=[f"c{i}" for i in range(800)], genes=lines(range(900)), end=""
    )
    write(folder / "matrix.mtx", text[:cut] + text[cut:].replace(" ", "  "))
    assert (converted(folder).X != x).nnz == 0


@pytest.mark.parametrize("entry", ["1 1", "1 1 2 3", "1 1 x", "1  1  2.5", "1  1.5  2"])
def test_a_line_that_is_no_entry(refused, tmp_path, entry):
    folder = trio(tmp_path / "run")
    write(folder / "matrix.mtx.gz", mtx(counts().T).rsplit("\n", 2)[0] + f"\n{entry}\n")
    assert "not a gene, a cell and a number" in refused(folder)


def test_names_that_do_not_say_whether_it_is_zipped(converted, tmp_path):
    """Browsers unpack what they load and leave the name"""
    folder = trio(tmp_path / "run", end="")
    want = converted(folder)
    for path in folder.iterdir():
        path.rename(f"{path}.gz")
    same(converted(folder), want)
