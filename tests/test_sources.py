"""Inputs that are no h5ad: what scanpy, anndata and tiledbsoma read from them is
what is in the dataset, and a bad one leaves nothing behind."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from conftest import dense, make_counts
from scipy import sparse
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from test_convert import assert_same
from test_errors import refusal

#: scanpy's own test files, where they have been fetched.
REAL = Path(__file__).parents[2] / "shared" / "data" / "10x"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no data in {REAL}")


@pytest.fixture
def folder(tmp_path) -> Path:
    """For datasets alone, so that what is left behind is seen."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    return folder


@pytest.fixture
def converted(folder):
    """Converts inputs, and gives all that is in the dataset."""

    def converted(source, **options) -> ad.AnnData:
        SLAFConverter().convert(source, folder / "made.slaf", **options)
        return read_slaf(folder / "made.slaf").to_adata()

    return converted


@pytest.fixture
def refused(folder):
    """Why an input is refused, after a look that nothing was left behind."""

    def refused(source, **options) -> str:
        def convert():
            SLAFConverter().convert(source, folder / "made.slaf", **options)

        message = refusal(SlafError, convert)
        assert list(folder.iterdir()) == []
        return message

    return refused


GENES = [
    ("ENSG01", "CD3D", "Gene Expression"),
    ("ENSG02", "NA", "Gene Expression"),
    ("ENSG03", "TBCE", "Gene Expression"),
    ("ENSG04", "TBCE", "Gene Expression"),
    ("ADT_CD3", "CD3", "Antibody Capture"),
]
CELLS = ["AAAC-1", "AAAG-1", "AAAT-1", "AACC-1"]
#: Gene, cell and count, of the format: from 1. The third cell is empty.
ENTRIES = [(5, 1, 9), (1, 1, 1), (2, 2, 3), (3, 2, 70_000), (4, 4, 2)]


def write_mtx(
    folder: Path,
    entries=ENTRIES,
    *,
    version: int = 3,
    zipped: bool | None = None,
    kind: str = "integer",
    says: int | None = None,
    cells=CELLS,
) -> Path:
    """A folder as Cell Ranger writes it, with `says` entries by its header."""
    folder.mkdir()
    header = f"%%MatrixMarket matrix coordinate {kind} general\n%metadata_json: {{}}\n"
    size = f"{len(GENES)} {len(CELLS)} {len(entries) if says is None else says}\n"
    genes = "".join("\t".join(gene[: 2 if version == 2 else 3]) + "\n" for gene in GENES)
    files = {
        "matrix.mtx": header + size + "".join(f"{g} {c} {v}\n" for g, c, v in entries),
        "barcodes.tsv": "".join(f"{cell}\n" for cell in cells),
        "genes.tsv" if version == 2 else "features.tsv": genes,
    }
    for name, text in files.items():
        if version == 3 if zipped is None else zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text)
    return folder


def what_was_written(version: int = 3) -> ad.AnnData:
    ids, symbols, types = zip(*GENES, strict=True)
    var = pd.DataFrame({"gene_ids": ids}, index=["CD3D", "NA", "TBCE", "TBCE-1", "CD3"])
    if version == 3:
        var["feature_types"] = types
    x = np.zeros((len(CELLS), len(GENES)), np.float32)
    for gene, cell, value in ENTRIES:
        x[cell - 1, gene - 1] = value
    return ad.AnnData(sparse.csr_matrix(x), obs=pd.DataFrame(index=CELLS), var=var)


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


def write_h5(path: Path) -> Path:
    """As Cell Ranger 3 and later, of two genomes, with genes of a cell in no order."""
    ids, symbols, types = (np.array(column, "S") for column in zip(*GENES, strict=True))
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(CELLS, "S")
        group["shape"] = np.array([len(GENES), len(CELLS)], np.int32)
        group["indptr"] = np.array([0, 2, 4, 4, 5])
        group["indices"] = np.array([gene - 1 for gene, _, _ in ENTRIES])
        group["data"] = np.array([value for _, _, value in ENTRIES], np.int32)
        features = group.create_group("features")
        features["id"], features["name"], features["feature_type"] = ids, symbols, types
        features["genome"] = np.array(["hg", "mm", "hg", "mm", ""], "S")
        features["_all_tag_keys"] = np.array(["genome"], "S")
    return path


def test_a_10x_h5_with_two_genomes_and_antibodies(converted, tmp_path):
    want = what_was_written()
    want.var["genome"] = ["hg", "mm", "hg", "mm", ""]
    assert_same(converted(write_h5(tmp_path / "run.h5")), want)


def test_one_genome_of_a_10x_h5(converted, tmp_path):
    path = write_h5(tmp_path / "run.h5")
    want = sc.read_10x_h5(path, genome="mm", gex_only=False)
    assert_same(converted(path, genome="mm"), want)


def write_v2_h5(path: Path) -> Path:
    """As Cell Ranger 2, with a cell that was called in both genomes."""
    with h5py.File(path, "w") as file:
        for genome, cells, value in (("hg", ["a", "b"], 1), ("mm", ["b", "c"], 3)):
            group = file.create_group(genome)
            group["barcodes"] = np.array(cells, "S")
            group["genes"] = np.array([f"{genome}1", f"{genome}2"], "S")
            group["gene_names"] = np.array(["ACTB", f"{genome}2"], "S")
            group["shape"] = np.array([2, 2], np.int32)
            group["indptr"], group["indices"] = np.array([0, 1, 2]), np.array([0, 1])
            group["data"] = np.array([value, value + 1], np.int32)
    return path


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


def some_files(tmp_path) -> tuple[list[Path], list[ad.AnnData]]:
    """Three h5ad files, of which each has other genes, in its own order."""
    rng = np.random.default_rng(0)
    paths, parts = [], []
    for number, cells in enumerate((30, 1, 12)):
        part = make_counts(30, seed=number)[:cells, rng.permutation(40)[:30]].copy()
        part.obs_names = [f"{number}-{cell}" for cell in part.obs_names]
        part.var["number"] = number
        part.var["mt"] = part.var["symbol"].str.endswith("7")
        part.obsm["X_pca"] = rng.normal(size=(cells, 3))
        part.layers["counts"] = part.X.astype(np.int32)
        part.uns["study"] = "one"
        part.uns["run"] = number
        if number == 1:
            part.obs["only here"] = 1.5
            del part.obs["donor"]
        paths.append(tmp_path / f"part{number}.h5ad")
        parts.append(part)
        part.write_h5ad(paths[-1])
    return paths, parts


@pytest.mark.parametrize("join", ["outer", "inner"])
def test_several_files_are_what_anndata_concatenates(converted, tmp_path, join):
    paths, parts = some_files(tmp_path)
    got = converted(paths, join=join)
    every = pd.Index(np.concatenate([part.var_names for part in parts])).unique()
    order = [g for g in every if join == "outer" or all(g in p.var_names for p in parts)]
    names = [path.name for path in paths]
    merged = {"merge": "same", "uns_merge": "same", "label": "source_file", "keys": names}
    want = ad.concat(parts, join=join, **merged)[:, order].copy()
    # No column of obs is left out, however genes are joined; those of var that
    # say the same everywhere are whole.
    want.obs = ad.concat(parts, join="outer", **merged).obs
    var = pd.concat([part.var[["symbol", "mt"]] for part in parts])
    want.var = var[~var.index.duplicated()].loc[order]
    assert_same(got, want)


def test_genes_are_told_by_their_ids_and_not_by_their_names(converted, tmp_path):
    """`TBCE` is another gene in each file, by the order of the two."""
    first, second = (make_counts(5, 9, seed=seed)[:, :3].copy() for seed in (1, 2))
    first.obs_names = [f"first-{i}" for i in range(5)]
    first.var = pd.DataFrame({"gene_ids": ["E1", "E2", "E3"]}, index=["TBCE", "TBCE-1", "A"])
    second.var = pd.DataFrame({"gene_ids": ["E2", "E4", "E1"]}, index=["TBCE", "B", "TBCE-1"])
    paths = [tmp_path / "first.h5ad", tmp_path / "second.h5ad"]
    first.write_h5ad(paths[0])
    second.write_h5ad(paths[1])
    got = converted(paths)
    want = pd.DataFrame({"gene_ids": ["E1", "E2", "E3", "E4"]}, index=["TBCE", "TBCE-1", "A", "B"])
    pd.testing.assert_frame_equal(got.var, want)
    np.testing.assert_array_equal(dense(got.X)[:5, :3], dense(first.X))
    np.testing.assert_array_equal(dense(got.X)[5:, [1, 3, 0]], dense(second.X))
    assert not dense(got.X)[:5, 3].any() and not dense(got.X)[5:, 2].any()


def test_raw_of_all_files_is_kept_and_of_some_is_not(converted, folder, tmp_path):
    paths, parts = some_files(tmp_path)
    for path, part in zip(paths, parts, strict=True):
        part.raw = part.copy()
        part[:, :20].copy().write_h5ad(path)
    got = converted(paths)
    raws = [ad.AnnData(part.raw.X, part.obs[[]], part.raw.var[[]]) for part in parts]
    want = ad.concat(raws, join="outer")[:, got.raw.var_names]
    np.testing.assert_array_equal(dense(got.raw.X), dense(want.X))
    assert got.raw.shape[1] > got.shape[1]
    del parts[1].raw
    parts[1].write_h5ad(paths[1])
    shutil.rmtree(folder / "made.slaf")
    with pytest.warns(UserWarning, match="`part1.h5ad` has none"):
        assert converted(paths).raw is None


def test_a_folder_and_an_h5_as_one(converted, tmp_path):
    """Of the same genes, by id; the columns that only one has are left out."""
    paths = [write_mtx(tmp_path / "run"), write_h5(tmp_path / "run.h5")]
    got = converted(paths, unique_cells=True)
    want = what_was_written()
    np.testing.assert_array_equal(dense(got.X), np.vstack([dense(want.X)] * 2))
    pd.testing.assert_frame_equal(got.var, want.var)
    assert got.obs_names.tolist() == [f"{cell}-{n}" for n in (1, 2) for cell in CELLS]
    assert got.obs["source_file"].tolist() == ["run"] * 4 + ["run.h5"] * 4


def test_folders_of_one_name_are_told_apart(converted, tmp_path):
    """As Cell Ranger calls each of its folders alike."""
    paths = []
    for sample in ("a", "b"):
        (tmp_path / sample).mkdir()
        paths.append(write_mtx(tmp_path / sample / "filtered_feature_bc_matrix"))
    got = converted(paths, unique_cells=True)
    assert got.obs["source_file"].nunique() == 2


def test_a_cell_in_two_files(refused, tmp_path):
    paths = [write_mtx(tmp_path / name) for name in ("first", "second")]
    message = refused(paths)
    for word in ("`AAAC-1`", "`first`", "`second`", "unique_cells=True", "--unique-cells"):
        assert word in message


def test_a_file_whose_gene_names_are_not_unique(refused, tmp_path):
    paths, parts = some_files(tmp_path)
    parts[1].var_names = ["same"] * parts[1].n_vars
    parts[1].write_h5ad(paths[1])
    message = refused(paths)
    assert "`part1.h5ad`" in message and "`same`" in message


def test_files_without_a_gene_in_common(refused, tmp_path):
    paths, parts = some_files(tmp_path)
    parts[2].var_names = "mouse-" + parts[2].var_names
    parts[2].write_h5ad(paths[2])
    assert "No gene is in every file" in refused(paths, join="inner")


def test_a_join_that_there_is_not(refused, tmp_path):
    assert "left" in refused(some_files(tmp_path)[0], join="left")


def test_a_bad_file_among_good_ones(refused, tmp_path):
    paths, _ = some_files(tmp_path)
    bad = write_mtx(tmp_path / "bad", says=9)
    assert "matrix.mtx" in refused([*paths, bad])


def soma_of(adata: ad.AnnData, path: Path) -> Path:
    io = pytest.importorskip("tiledbsoma.io")
    io.from_anndata(str(path), adata, "RNA")
    return path


def test_a_soma_experiment(converted, tmp_path):
    adata = make_counts()[:, :30].copy()
    adata.obs = adata.obs[["cell_type", "batch", "total_counts", "n_genes", "doublet"]].copy()
    rng = np.random.default_rng(0)
    adata.obsm["X_pca"] = rng.normal(size=(60, 4))
    adata.varm["PCs"] = rng.normal(size=(30, 4))
    adata.obsp["distances"] = sparse.random(60, 60, 0.1, "csr", random_state=0)
    adata.layers["log"] = np.log1p(adata.X)
    adata.uns = {"study": "one", "colors": np.array(["#fff", "#000"])}
    assert_same(converted(soma_of(adata, tmp_path / "made.soma")), adata)


def test_a_soma_experiment_without_the_layer(refused, tmp_path):
    adata = make_counts()
    adata.obs = adata.obs[["batch"]].copy()
    io = pytest.importorskip("tiledbsoma.io")
    path = tmp_path / "made.soma"
    io.from_anndata(str(path), adata, "RNA", X_layer_name="counts")
    assert "`counts`" in refused(path)
