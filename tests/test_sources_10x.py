"""Folders and HDF5 files of Cell Ranger: the dataset contains what scanpy reads, and a bad
input leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from checks import assert_same
from conftest import dense
from inputs_10x import CELLS, ENTRIES, what_was_written, write_h5, write_mtx, write_v2_h5
from scipy import sparse

#: scanpy's own test files, where they have been fetched.
REAL = Path(__file__).parents[2] / "shared" / "data" / "10x"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no data in {REAL}")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["integer", "real"])
def test_a_10x_folder_of_each_version(converted, tmp_path, version, zipped, kind):
    source = write_mtx(tmp_path / "run", version=version, zipped=zipped, kind=kind)
    assert_same(converted(source), what_was_written(version))


def test_entries_in_any_order(converted, tmp_path):
    source = write_mtx(tmp_path / "run", sorted(ENTRIES))
    assert_same(converted(source), what_was_written())


def test_a_matrix_without_an_entry(converted, tmp_path):
    got = converted(write_mtx(tmp_path / "run", []))
    assert got.shape == (4, 5) and got.X.nnz == 0


def test_a_pattern_says_one(converted, tmp_path):
    source = write_mtx(tmp_path / "run", zipped=False)
    lines = (source / "matrix.mtx").read_text().replace("integer", "pattern").splitlines()
    lines[3:] = [line.rsplit(" ", 1)[0] for line in lines[3:]]
    (source / "matrix.mtx").write_text("\n".join(lines))
    want = what_was_written()
    want.X.data[:] = 1
    assert_same(converted(source), want)


def test_a_matrix_of_many_batches_is_what_scanpy_reads(converted, tmp_path):
    """4 MB of text each; some cells lie across two of them."""
    rng = np.random.default_rng(0)
    x = sparse.random(
        3000, 700, 0.5, "csr", random_state=0, data_rvs=lambda n: rng.integers(1, 99, n)
    )
    source = tmp_path / "run"
    source.mkdir()
    entries = x.tocoo()
    table = pd.DataFrame({"gene": entries.col + 1, "cell": entries.row + 1, "count": entries.data})
    text = table.astype(int).to_csv(sep=" ", header=False, index=False)
    head = f"%%MatrixMarket matrix coordinate integer general\n%\n700 3000 {x.nnz}\n"
    (source / "matrix.mtx").write_text(head + text)
    (source / "genes.tsv").write_text("".join(f"E{i}\tG{i}\n" for i in range(700)))
    (source / "barcodes.tsv").write_text("".join(f"c{i}\n" for i in range(3000)))
    assert_same(converted(source), sc.read_10x_mtx(source))


@needs_real
@pytest.mark.parametrize(
    "name", ["1.2.0/filtered_gene_bc_matrices/hg19_chr21", "3.0.0/filtered_feature_bc_matrix"]
)
def test_a_real_10x_folder_is_what_scanpy_reads(converted, name):
    assert_same(converted(REAL / name), sc.read_10x_mtx(REAL / name, gex_only=False))


@needs_real
def test_gene_ids_that_are_numbers(converted):
    got = converted(REAL / "int-ids")
    assert got.var["gene_ids"].tolist()[:2] == [574405, 574404]
    assert dense(got.X)[2].tolist() == [0, 0, 0, 6, 1, 1]


@needs_real
@pytest.mark.parametrize(
    "name", ["1.2.0/filtered_gene_bc_matrices_h5.h5", "3.0.0/filtered_feature_bc_matrix.h5"]
)
def test_a_real_10x_h5_is_what_scanpy_reads(converted, name):
    want = sc.read_10x_h5(REAL / name, gex_only=False)
    want.var_names_make_unique()
    assert_same(converted(REAL / name), want)


@needs_real
@pytest.mark.parametrize("genome", ["hg19_chr21", "another_genome"])
def test_one_genome_of_several(converted, genome):
    path = REAL / "1.2.0" / "multiple_genomes.h5"
    want = sc.read_10x_h5(path, genome=genome)
    want.var_names_make_unique()
    assert_same(converted(path, genome=genome), want)


def test_a_10x_h5_with_two_genomes_and_antibodies(converted, tmp_path):
    want = what_was_written()
    want.var["genome"] = ["hg", "mm", "hg", "mm", ""]
    assert_same(converted(write_h5(tmp_path / "run.h5")), want)


def test_one_genome_of_a_10x_h5(converted, tmp_path):
    path = write_h5(tmp_path / "run.h5")
    want = sc.read_10x_h5(path, genome="mm", gex_only=False)
    assert_same(converted(path, genome="mm"), want)


def test_several_genomes_side_by_side(converted, tmp_path):
    got = converted(write_v2_h5(tmp_path / "run.h5"))
    want = ad.AnnData(
        sparse.csr_matrix(np.array([[1, 0, 0, 0], [0, 2, 3, 0], [0, 0, 0, 4]], np.float32)),
        obs=pd.DataFrame(index=["a", "b", "c"]),
        var=pd.DataFrame(
            {"gene_ids": ["hg1", "hg2", "mm1", "mm2"], "genome": ["hg", "hg", "mm", "mm"]},
            index=["ACTB", "hg2", "ACTB-1", "mm2"],
        ),
    )
    assert_same(got, want)


def test_a_genome_that_is_not_there_names_those_that_are(refused, tmp_path):
    assert "`hg`" in refused(write_v2_h5(tmp_path / "two.h5"), genome="hg19")
    assert "`mm`" in refused(write_h5(tmp_path / "three.h5"), genome="mm10")


@pytest.mark.parametrize("says", [4, 6])
def test_a_matrix_with_fewer_or_more_entries_than_its_header_says(refused, tmp_path, says):
    message = refused(write_mtx(tmp_path / "run", says=says))
    assert f"{says} entries by its header" in message and "5 lines" in message


def test_barcodes_of_another_run(refused, tmp_path):
    message = refused(write_mtx(tmp_path / "run", cells=CELLS[:3]))
    assert "4 cells" in message and "`barcodes.tsv.gz` beside it has 3" in message


@pytest.mark.parametrize("entry, word", [((6, 1, 1), "gene 6"), ((1, 0, 1), "cell 0")])
def test_an_entry_outside_of_the_matrix(refused, tmp_path, entry, word):
    assert word in refused(write_mtx(tmp_path / "run", [entry]))


def test_an_entry_that_comes_twice_is_summed(converted, tmp_path):
    got = converted(write_mtx(tmp_path / "run", [(5, 1, 9), (5, 1, 8)]))
    assert got.X.nnz == 1 and got.X[0, 4] == 17


@pytest.mark.parametrize("entry", [(1, 1, "many"), ("x", 1, 1), (1, 1, "")])
def test_a_line_that_is_no_entry(refused, tmp_path, entry):
    assert "matrix.mtx" in refused(write_mtx(tmp_path / "run", [entry]))


@pytest.mark.parametrize("kind", ["array real", "coordinate complex"])
def test_a_matrix_market_file_of_another_kind(refused, tmp_path, kind):
    source = write_mtx(tmp_path / "run", zipped=False)
    path = source / "matrix.mtx"
    path.write_text(path.read_text().replace("coordinate integer", kind))
    assert "MatrixMarket" in refused(source)


def test_a_folder_without_its_features(refused, tmp_path):
    source = write_mtx(tmp_path / "run")
    (source / "features.tsv.gz").unlink()
    assert "`features.tsv.gz`" in refused(source)


@pytest.mark.parametrize("name", ["matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz"])
def test_a_gzip_file_that_is_cut_short(refused, tmp_path, name):
    source = write_mtx(tmp_path / "run")
    (source / name).write_bytes((source / name).read_bytes()[:-9])
    assert name in refused(source)


@pytest.mark.parametrize("value", ["nan", "-2", "0.5"])
def test_a_value_that_is_no_count_is_told_with_its_cell_and_gene(refused, tmp_path, value):
    entries = [*ENTRIES[:2], (3, 2, value), *ENTRIES[4:]]
    message = refused(write_mtx(tmp_path / "run", entries, kind="real"))
    assert "AAAG-1" in message and "TBCE" in message


def test_a_negative_count_in_an_h5(refused, tmp_path):
    path = write_h5(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        file["matrix/data"][4] = -1
    message = refused(path)
    assert "AACC-1" in message and "TBCE-1" in message


def test_text_that_is_named_h5(refused, tmp_path):
    path = tmp_path / "text.h5"
    path.write_text("gene,count\n")
    assert "text.h5" in refused(path)


def test_an_h5_that_is_cut_short(refused, tmp_path):
    path = write_h5(tmp_path / "run.h5")
    path.write_bytes(path.read_bytes()[:3000])
    assert "run.h5" in refused(path)


@pytest.mark.parametrize("name", ["indptr", "barcodes", "shape", "features", "features/name"])
def test_an_h5_without_a_dataset(refused, tmp_path, name):
    path = write_h5(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        del file[f"matrix/{name}"]
    assert f"`matrix/{name}`" in refused(path)


@pytest.mark.parametrize("name", ["indptr", "indices", "barcodes", "features/genome"])
def test_an_h5_whose_datasets_do_not_fit(refused, tmp_path, name):
    path = write_h5(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        short = file[f"matrix/{name}"][:-1]
        del file[f"matrix/{name}"]
        file[f"matrix/{name}"] = short
    assert f"matrix/{name}" in refused(path)
