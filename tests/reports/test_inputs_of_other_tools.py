"""Folders and files of other tools: the dataset contains what scanpy, scipy or the tool's
own reader reads, or a sentence names the tool that converts it to h5ad."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from inputs_of_tools import CELLS, IDS, NAMES, counts, lines, mtx, same, trio, write
from scipy import sparse
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.data.chunked_reader import create_chunked_reader
from slaf.data.utils import detect_format
from slaf.integrations import read_slaf

# --- other tools ---------------------------------------------------------------------------


def starsolo(folder: Path, *, old: bool = False, called: bool = True) -> dict[str, np.ndarray]:
    """`Solo.out` with Gene and Velocyto, of which only `raw` has all."""
    names = ("x", "spliced", "unspliced", "ambiguous")
    parts = {name: counts(seed) for seed, name in enumerate(names)}
    trio(folder / "Gene" / "raw", x=parts["x"], end="")
    velocyto = trio(folder / "Velocyto" / "raw", end="")
    (velocyto / "matrix.mtx").unlink()
    if old:
        together = sum(parts[k] for k in parts if k != "x").T.tocoo()
        rows = [
            f"{g + 1} {c + 1} " + " ".join(str(parts[k][c, g]) for k in parts if k != "x")
            for g, c in sorted(zip(together.row, together.col, strict=True), key=lambda e: e[1])
        ]
        head = f"%%MatrixMarket matrix coordinate integer general\n%\n12 9 {len(rows)}\n"
        write(velocyto / "matrix.mtx", head + "\n".join(rows) + "\n")
    else:
        for name in ("spliced", "unspliced", "ambiguous"):
            write(velocyto / f"{name}.mtx", mtx(parts[name].T))
    write(folder / "Gene" / "Summary.csv", "Number of Reads,1\n")
    write(folder / "Gene" / "raw" / "UniqueAndMult-EM.mtx", mtx(parts["x"].T * 2))
    rows = list(range(9))
    if called:
        rows = [1, 4, 5, 8]
        cells = [CELLS[i] for i in rows]
        trio(folder / "Gene" / "filtered", x=parts["x"][rows], cells=cells, end="")
    want = {name: x[rows].toarray() for name, x in parts.items()}
    return want | {"cells": [CELLS[i] for i in rows]}


@pytest.mark.parametrize("given", ["", "Gene"])
@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_starsolo_with_velocyto(converted, tmp_path, old, called, given):
    """scverse/scanpy#1860, alexdobin/STAR#774: layers of the cells of X, by barcode"""
    want = starsolo(tmp_path / "aSolo.out", old=old, called=called)
    got = converted(tmp_path / "aSolo.out" / given)
    assert list(got.obs_names) == want["cells"]
    np.testing.assert_array_equal(got.X.toarray(), want["x"])
    assert set(got.layers) == {"spliced", "unspliced", "ambiguous"}
    for layer in got.layers:
        np.testing.assert_array_equal(got.layers[layer].toarray(), want[layer], err_msg=layer)
    part = "filtered" if called else "raw"
    folder = tmp_path / "aSolo.out" / "Gene" / part
    for path in list(folder.glob("[mbf]*")):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    oracle = sc.read_10x_mtx(folder, gex_only=False)
    np.testing.assert_array_equal(got.X.toarray(), oracle.X.toarray())


def test_cells_of_starsolo_in_another_order(converted, tmp_path):
    """alexdobin/STAR#774: layers are by barcode and not by position"""
    want = starsolo(tmp_path / "Solo.out")
    back = want["cells"][::-1]
    trio(
        tmp_path / "Solo.out" / "Gene" / "filtered",
        x=sparse.csr_matrix(want["x"][::-1]), cells=back, end="",
    )  # fmt: skip
    got = converted(tmp_path / "Solo.out")
    assert list(got.obs_names) == back
    np.testing.assert_array_equal(got.layers["unspliced"].toarray(), want["unspliced"][::-1])


@pytest.mark.parametrize("given", ["Velocyto", "Velocyto/raw"])
@pytest.mark.parametrize("old", [False, True])
def test_velocyto_alone(converted, tmp_path, given, old):
    """alexdobin/STAR#2097: a folder of spliced, unspliced and ambiguous"""
    want = starsolo(tmp_path / "Solo.out", old=old, called=False)
    got = converted(tmp_path / "Solo.out" / given)
    np.testing.assert_array_equal(got.X.toarray(), want["spliced"])
    np.testing.assert_array_equal(got.layers["ambiguous"].toarray(), want["ambiguous"])


def test_several_kinds_of_counts_of_starsolo(converted, tmp_path):
    """X is of Gene, and it is said that there is more"""
    starsolo(tmp_path / "Solo.out")
    trio(tmp_path / "Solo.out" / "GeneFull" / "raw", x=counts(9), end="")
    with pytest.warns(UserWarning, match="GeneFull"):
        got = converted(tmp_path / "Solo.out")
    assert got.n_obs == 4
    got = converted(tmp_path / "Solo.out" / "GeneFull")
    np.testing.assert_array_equal(got.X.toarray(), counts(9).toarray())
    assert set(got.layers) == {"spliced", "unspliced", "ambiguous"}


def test_velocyto_of_another_run(refused, tmp_path):
    """Layers that do not fit are not lined up"""
    starsolo(tmp_path / "Solo.out")
    write(tmp_path / "Solo.out/Velocyto/raw/barcodes.tsv", lines([f"x{c}" for c in CELLS]))
    assert "different runs" in refused(tmp_path / "Solo.out")


def kb(folder: Path, kinds=("",), names: bool = True) -> Path:
    for seed, kind in enumerate(kinds):
        write(folder / f"cells_x_genes{kind}.mtx", mtx(counts(seed), "row"))
    write(folder / "cells_x_genes.barcodes.txt", lines(CELLS))
    write(folder / "cells_x_genes.genes.txt", lines(IDS))
    if names:
        write(folder / "cells_x_genes.genes.names.txt", lines(["", *NAMES[1:]]))
    return folder


@pytest.mark.parametrize("given", ["", "counts_unfiltered"])
@pytest.mark.parametrize("names", [False, True])
def test_counts_of_kb(converted, tmp_path, given, names):
    """pachterlab/kb_python: cells × genes, genes by id and by name"""
    folder = kb(tmp_path / "out" / "counts_unfiltered", names=names)
    got = converted(tmp_path / "out" / given)
    want = sc.read_mtx(folder / "cells_x_genes.mtx")
    np.testing.assert_array_equal(got.X.toarray(), want.X.toarray())
    assert list(got.obs_names) == CELLS
    if names:
        assert list(got.var_names)[:3] == [IDS[0], "TBCE", "TBCE-1"]
        assert list(got.var["gene_ids"]) == IDS
    else:
        assert list(got.var_names) == IDS
    assert detect_format(str(folder)) == "kb"


@pytest.mark.parametrize("sums", [(), (".total",)])
def test_mature_and_nascent_counts_of_kb(converted, tmp_path, sums):
    """pachterlab/kb_python#305: the workflow nac, for velocity"""
    kinds = (".mature", ".nascent", ".ambiguous", *sums)
    got = converted(kb(tmp_path / "counts_unfiltered", kinds))
    for seed, kind in enumerate(kinds[:3]):
        np.testing.assert_array_equal(got.layers[kind[1:]].toarray(), counts(seed).toarray())
    np.testing.assert_array_equal(got.X.toarray(), counts(3 if sums else 0).toarray())


def test_as_many_cells_as_genes(converted, tmp_path):
    """Where the numbers do not say which side is which, the tool does"""
    x = counts(cells=9, genes=9)
    folder = tmp_path / "counts_unfiltered"
    write(folder / "cells_x_genes.mtx", mtx(x, "row"))
    write(folder / "cells_x_genes.barcodes.txt", lines(CELLS))
    write(folder / "cells_x_genes.genes.txt", lines(IDS[:9]))
    np.testing.assert_array_equal(converted(folder).X.toarray(), x.toarray())
    run = trio(tmp_path / "run", x=x, genes=lines(IDS[:9]))
    np.testing.assert_array_equal(converted(run).X.toarray(), x.toarray())


@pytest.mark.parametrize("given", ["", "alevin"])
@pytest.mark.parametrize("note", ["quant.json", "meta_info.json", None])
@pytest.mark.parametrize("usa", [False, True])
def test_counts_of_alevin_fry(converted, tmp_path, given, usa, note):
    """COMBINE-lab/alevin-fry: what pyroe.load_fry("scRNA") has in X, and its layers"""
    parts = [counts(seed) * 0.5 for seed in range(3 if usa else 1)]
    folder = tmp_path / "quant" / "alevin"
    whole = sparse.hstack(parts)
    write(folder / "quants_mat.mtx", mtx(whole, "row").replace("integer", "real"))
    write(folder / "quants_mat_rows.txt", lines(CELLS))
    write(folder / "quants_mat_cols.txt", lines(IDS))
    if note:
        names = {"num_genes": whole.shape[1], "usa_mode": usa}
        write(tmp_path / "quant" / note, json.dumps(names))
    if usa and note == "quant.json":  # newer versions name each column
        all_of = [*IDS, *[f"{i}-U" for i in IDS], *[f"{i}-A" for i in IDS]]
        write(folder / "quants_mat_cols.txt", lines(all_of))
    got = converted(tmp_path / "quant" / given)
    assert list(got.obs_names) == CELLS and list(got.var_names) == IDS
    assert list(got.var.columns) == []
    want = parts[0] + parts[2] if usa else parts[0]
    np.testing.assert_array_equal(got.X.toarray(), want.toarray())
    layers = dict(zip(("spliced", "unspliced", "ambiguous"), parts, strict=usa))
    for name, part in layers.items() if usa else []:
        np.testing.assert_array_equal(got.layers[name].toarray(), part.toarray())
    assert usa or not got.layers
    write(tmp_path / "quant" / "gene_id_to_name.tsv", lines(IDS[:3], ["A", "B", "B"]))
    got = converted(tmp_path / "quant" / given)
    assert list(got.var_names) == ["A", "B", "B-1", *IDS[3:]] and list(got.var["gene_ids"]) == IDS


def test_other_tools_in_chunks(tmp_path):
    """slafdb's reader of chunks takes any input"""
    folder = kb(tmp_path / "counts_unfiltered")
    with create_chunked_reader(str(folder)) as reader:
        assert list(reader.obs_names) == CELLS
        assert reader.get_chunk()["value"].to_pylist() == counts().data.tolist()


def test_binary_counts_of_salmon_alevin(refused, tmp_path):
    """COMBINE-lab/salmon: quants_mat.gz"""
    for name in ("quants_mat.gz", "quants_mat_rows.txt", "quants_mat_cols.txt"):
        write(tmp_path / "out" / "alevin" / name, "x\n")
    for given in ("out", "out/alevin", "out/alevin/quants_mat.gz"):
        assert "--dumpMtx" in refused(tmp_path / given)


@pytest.mark.parametrize("name", ["DGE.mtx", "count_matrix.mtx", "count_matrix.mtx.gz"])
def test_a_folder_of_parse(converted, tmp_path, name):
    """Parse Biosciences, "Scanpy Tutorial" """
    folder = tmp_path / "sample" / "DGE_filtered"
    write(folder / name, mtx(counts(), "row"))
    wells = [f"01_02_{i:02}" for i in range(9)]
    genes = pd.DataFrame({"gene_id": IDS, "gene_name": NAMES, "genome": "hg38"})
    cells = pd.DataFrame({"bc_wells": wells, "sample": "s1", "gene_count": range(9)})
    genes.to_csv(folder / "all_genes.csv", index=False)
    cells.to_csv(folder / "cell_metadata.csv", index=False)
    want = sc.read_mtx(folder / name)
    want.var = pd.DataFrame({"gene_ids": IDS, "genome": "hg38"}, index=NAMES)
    want.var_names_make_unique()
    want.obs = cells.set_index("bc_wells").rename_axis(None)
    same(converted(folder), want)


def test_several_folders_of_other_tools_are_one_dataset(converted, tmp_path):
    """Layers of several inputs stay with their cells"""
    wanted = [starsolo(tmp_path / "all" / f"{name}Solo.out", old=name == "b") for name in "ab"]
    got = converted(tmp_path / "all", unique_cells=True)
    assert list(got.obs["source_file"].unique()) == ["a", "b"]
    both = np.vstack([want["unspliced"] for want in wanted])
    np.testing.assert_array_equal(got.layers["unspliced"].toarray(), both)


# --- what cannot be read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, said",
    {
        "x.rds": "anndataR::write_h5ad(readRDS(",
        "x.RData": "load(",
        "x.qs": "qs::qread(",
        "x.h5seurat": "SeuratDisk::Convert(",
        "x.loom": "anndata.io.read_loom(",
        "x.csv.gz": "anndata.io.read_csv(",
        "x.tsv": "delimiter='\\t'",
        "x.txt": "anndata.io.read_csv(",
        "x.parquet": "pandas.read_parquet(",
        "x.mtx": "barcodes.tsv",
        "x.zip": "unzip",
        "x.tar.gz": "tar -xf",
        "x.h5ad.gz": "gunzip",
        "x.dat": "has an unknown format",
    }.items(),
)
def test_a_file_of_another_tool_says_what_turns_it_into_h5ad(refused, tmp_path, name, said):
    """satijalab/seurat, mojaveazure/seurat-disk: converters between formats"""
    path = tmp_path / name
    path.write_bytes(b"something else")
    message = refused(path)
    assert said in message and name in message
    with pytest.raises(ValueError, match=name):
        detect_format(str(path))


@pytest.mark.parametrize("kind", ["10x_mtx", "starsolo", "kb", "alevin", "parse"])
@pytest.mark.parametrize("name", ["x.h5ad", "empty"])
def test_a_format_that_it_is_not(refused, tmp_path, kind, name):
    """A named format is checked, too"""
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.h5ad").write_text("x")
    assert name in refused(tmp_path / name, input_format=kind)


@pytest.mark.parametrize("name", ["x.h5ad", "x.h5", "x.rds", "x.mtx"])
def test_an_empty_file_is_called_empty(refused, tmp_path, name):
    """A download that failed"""
    (tmp_path / name).touch()
    assert "empty" in refused(tmp_path / name)


@pytest.mark.parametrize(
    "inside, said",
    [
        (("matrix", "row_attrs/Gene", "col_attrs/CellID"), "read_loom"),
        (("assays/RNA", "cell.names"), "SeuratDisk"),
        (("barcode_idx", "umi"), "molecules"),
        (("weights",), "`weights`"),
    ],
)
@pytest.mark.parametrize("name", ["x.h5", "x.h5ad", "x.loom"])
def test_hdf5_of_another_kind(refused, tmp_path, name, inside, said):
    """linnarsson-lab/loompy, mojaveazure/seurat-disk: HDF5 is told by what is in it"""
    with h5py.File(tmp_path / name, "w") as file:
        for key in inside:
            file[key] = np.zeros(2)
    assert said in refused(tmp_path / name)


def test_the_sentences_run(tmp_path):
    """What is told to be run makes an h5ad that converts"""
    frame = pd.DataFrame(counts().toarray(), index=CELLS, columns=IDS)
    frame.to_csv(tmp_path / "x.csv")
    frame.to_parquet(tmp_path / "y.parquet")
    for name in ("x.csv", "y.parquet"):
        with pytest.raises(SlafError) as error:
            SLAFConverter().convert(tmp_path / name, tmp_path / "made.slaf")
        code = str(error.value).split("`")[3]
        import anndata.io  # noqa: F401

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(code, {"anndata": ad, "pandas": pd})
        target = tmp_path / f"{name}.slaf"
        SLAFConverter().convert((tmp_path / name).with_suffix(".h5ad"), target)
        np.testing.assert_array_equal(read_slaf(target).to_adata().to_df().to_numpy(), frame)
