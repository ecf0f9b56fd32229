"""slafdb's readers of inputs: chunks and metadata of each format are what anndata reads."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from checks import matrix_of
from conftest import dense
from inputs_10x import what_was_written, write_mtx
from scipy import sparse
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.data.chunked_reader import (
    BaseChunkedReader,
    Chunked10xH5Reader,
    Chunked10xMTXReader,
    ChunkedH5ADReader,
    ChunkedTileDBReader,
    create_chunked_reader,
)
from slaf.data.utils import detect_format, discover_input_files, validate_input_files


@pytest.fixture
def inputs(tmp_path, counts) -> dict[str, tuple]:
    """For each format, the input, its reader, and anndata's result."""
    import scanpy as sc
    import tiledbsoma.io

    plain = counts[:, :30].copy()
    plain.obs = plain.obs[["batch", "n_genes"]]
    plain.write_h5ad(tmp_path / "x.h5ad")
    write_mtx(tmp_path / "mtx")
    tiledbsoma.io.from_anndata(str(tmp_path / "soma"), plain, measurement_name="RNA")
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("matrix")
        x = sparse.csr_matrix(plain.X)
        group["data"], group["indices"], group["indptr"] = x.data.astype("i4"), x.indices, x.indptr
        group["shape"] = [x.shape[1], x.shape[0]]
        group["barcodes"] = plain.obs_names.to_numpy().astype("S")
        for name, value in (
            ("id", plain.var_names),
            ("name", plain.var["symbol"]),
            ("feature_type", ["Gene Expression"] * 30),
        ):
            group[f"features/{name}"] = np.asarray(value).astype("S")
    return {
        "h5ad": (tmp_path / "x.h5ad", ChunkedH5ADReader, plain),
        "10x_mtx": (
            tmp_path / "mtx",
            Chunked10xMTXReader,
            what_was_written(),
        ),
        "10x_h5": (
            tmp_path / "x.h5",
            Chunked10xH5Reader,
            sc.read_10x_h5(tmp_path / "x.h5", gex_only=False),
        ),
        "tiledb": (tmp_path / "soma", ChunkedTileDBReader, plain),
    }


@pytest.mark.parametrize("kind", ["h5ad", "10x_mtx", "10x_h5", "tiledb"])
def test_chunks(inputs, kind):
    path, reader_class, wanted = inputs[kind]
    assert detect_format(str(path)) == kind
    reader = create_chunked_reader(str(path), value_type="float32")
    assert type(reader) is reader_class and isinstance(reader, BaseChunkedReader)
    with pytest.raises(RuntimeError, match="not open"):
        reader.n_obs  # noqa: B018
    with reader:
        assert (reader.n_obs, reader.n_vars) == wanted.shape
        assert list(reader.obs_names) == list(wanted.obs_names)
        assert list(reader.var_names) == list(wanted.var_names)
        assert list(reader.get_obs_metadata().index) == list(wanted.obs_names)
        assert set(wanted.var.columns) <= set(reader.get_var_metadata().columns)
        for size in (1, 7, 1000):
            tables, slices = zip(*reader.iter_chunks(chunk_size=size), strict=True)
            starts = range(0, wanted.n_obs, size)
            assert list(slices) == [slice(s, min(s + size, wanted.n_obs)) for s in starts]
            whole = pl.concat(map(pl.from_arrow, tables))
            assert whole.schema == {
                "cell_integer_id": pl.UInt32,
                "gene_integer_id": pl.UInt16,
                "value": pl.Float32,
            }
            np.testing.assert_array_equal(matrix_of(whole, wanted), dense(wanted.X))
            for table, at in zip(tables, slices, strict=True):
                cells = table["cell_integer_id"].to_numpy()
                assert ((cells >= at.start) & (cells < at.stop)).all()
        for cells, genes in (
            (slice(1, 3), slice(2, None)),
            (slice(-2, None), slice(None, None, 2)),
            (slice(None, None, -1), None),
            (slice(2, 2), None),
        ):
            found = pl.from_arrow(reader.get_chunk(cells, genes))
            kept = np.zeros(wanted.shape)
            rows = np.arange(wanted.n_obs)[cells]
            columns = np.arange(wanted.n_vars)[slice(None) if genes is None else genes]
            kept[np.ix_(rows, columns)] = dense(wanted.X)[np.ix_(rows, columns)]
            np.testing.assert_array_equal(matrix_of(found, wanted), kept)
        with pytest.raises(NotImplementedError):
            reader.iter_chunks(obs_chunk=False)
    with pytest.raises(RuntimeError, match="not open"):
        reader.get_obs_metadata()


def test_metadata_of_an_h5ad(inputs):
    path, _, wanted = inputs["h5ad"]
    with ChunkedH5ADReader(str(path)) as reader:
        pd.testing.assert_frame_equal(
            reader.get_obs_metadata(), ad.read_h5ad(path).obs, check_dtype=False
        )
        pd.testing.assert_frame_equal(
            reader.get_var_metadata(), ad.read_h5ad(path).var, check_dtype=False
        )


def test_value_types(tmp_path, pbmc_h5ad, pbmc):
    with ChunkedH5ADReader(str(pbmc_h5ad)) as reader:
        with pytest.raises(SlafError, match="no uint16.*float32"):
            list(reader.iter_chunks())
    with ChunkedH5ADReader(str(pbmc_h5ad), value_type="auto") as reader:
        whole = pl.concat(pl.from_arrow(table) for table, _ in reader.iter_chunks(300))
        np.testing.assert_array_equal(matrix_of(whole, pbmc), dense(pbmc.X))
    many = ad.AnnData(sparse.csr_matrix(np.array([[1, 70_000]], dtype=np.int32)))
    many.write_h5ad(tmp_path / "many.h5ad")
    with ChunkedH5ADReader(str(tmp_path / "many.h5ad")) as reader:
        with pytest.raises(SlafError, match="70000"):
            reader.get_chunk()
    with pytest.raises(SlafError, match="`text`"):
        ChunkedH5ADReader(str(tmp_path / "many.h5ad"), value_type="text")


def test_more_genes_than_uint16(tmp_path):
    x = sparse.csr_matrix(([1.0], ([0], [69_999])), shape=(1, 70_000), dtype=np.float32)
    ad.AnnData(x).write_h5ad(tmp_path / "wide.h5ad")
    with ChunkedH5ADReader(str(tmp_path / "wide.h5ad")) as reader:
        assert reader.get_chunk()["gene_integer_id"].to_pylist() == [69_999]


def test_genes_of_an_h5ad(inputs):
    path, _, wanted = inputs["h5ad"]
    with ChunkedH5ADReader(str(path)) as reader:
        with pytest.warns(UserWarning, match="nope"):
            parts = list(reader.get_gene_expression(["ENSG00009", "nope", "ENSG00001"], 25))
    assert [len(part) for part in parts] == [25, 25, 10]
    pd.testing.assert_frame_equal(
        pd.concat(parts), wanted[:, ["ENSG00009", "ENSG00001"]].to_df(), check_names=False
    )


def test_formats_by_name_and_content(tmp_path, pbmc_slaf, inputs):
    assert detect_format("nowhere.h5ad") == "h5ad"
    assert detect_format("nowhere.h5") == "10x_h5"
    assert detect_format(str(pbmc_slaf)) == "slaf"
    (inputs["h5ad"][0]).rename(tmp_path / "renamed.h5")
    assert detect_format(str(tmp_path / "renamed.h5")) == "h5ad"
    (tmp_path / "notes.txt").write_text("no data")
    for name in ("notes.txt", "nowhere.txt", "."):
        with pytest.raises(ValueError):
            detect_format(str(tmp_path / name))
    with pytest.raises(SlafError, match="SLAFArray"):
        create_chunked_reader(str(pbmc_slaf))


def test_inputs_of_a_folder(tmp_path, counts):
    folder = tmp_path / "study"
    for name in ("b", "a", "deep/c", "deep/deeper/d"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        counts.write_h5ad(folder / f"{name}.h5ad")
    (folder / "readme.txt").write_text("no data")
    SLAFConverter().convert_anndata(counts, folder / "a.slaf")
    found, kind = discover_input_files(str(folder))
    assert kind == "h5ad"
    assert found == [str(folder / f"{name}.h5ad") for name in ("a", "b", "deep/c")]
    assert discover_input_files(str(folder), max_depth=1)[0] == found[:2]
    assert discover_input_files(found[0]) == ([found[0]], "h5ad")
    write_mtx(folder / "mtx")
    assert discover_input_files(str(folder / "mtx")) == ([str(folder / "mtx")], "10x_mtx")
    with pytest.raises(SlafError, match="10x_mtx, h5ad"):
        discover_input_files(str(folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SlafError, match="nothing that can be converted"):
        discover_input_files(str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError):
        discover_input_files(str(tmp_path / "nowhere"))


def test_inputs_that_belong_together(tmp_path, counts):
    def write(name: str, adata: ad.AnnData) -> str:
        adata.write_h5ad(tmp_path / name)
        return str(tmp_path / name)

    first = write("first.h5ad", counts)
    turned = write("turned.h5ad", counts[:, ::-1].copy())
    assert validate_input_files([first, turned], "h5ad") is None
    fewer = counts[:, 1:].copy()
    fewer.obs = fewer.obs.drop(columns="batch").assign(extra=1)
    fewer.X = fewer.X.astype(np.int32)
    other = write("other.h5ad", fewer)
    (tmp_path / "damaged.h5ad").write_bytes(b"")
    with pytest.raises(ValueError) as error:
        validate_input_files(
            [first, other, str(tmp_path / "damaged.h5ad"), str(tmp_path / "nowhere.h5ad")], "h5ad"
        )
    lines = str(error.value).splitlines()[1:]
    assert lines[0] == "`other.h5ad` lacks the gene `ENSG00000` of the first input."
    assert lines[1] == "`other.h5ad` lacks the obs column `batch` of the first input."
    assert lines[2] == "`other.h5ad` has the obs column `extra`, which the first input lacks."
    assert "`integers`" in lines[4] and "`fractions`" in lines[3]
    assert "damaged.h5ad" in lines[5] and "nowhere.h5ad" in lines[6] and len(lines) == 7
