"""Stored zeros of a table do not count as expression, and a repeated gene of a cell is
found."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse
from slaf import SLAFArray, SlafError, _slaf
from slaf.data import SLAFConverter


@pytest.fixture(scope="module")
def with_zeros(tmp_path_factory):
    """A third of the stored values are zero, and all of one group in one gene."""
    x = sparse.random(40, 12, 0.7, "csr", random_state=0, dtype=np.float32)
    x.data = np.random.default_rng(0).integers(1, 9, x.nnz).astype(np.float32)
    x.data[::3] = 0
    x.data[(x.indices == 4) & (np.repeat(np.arange(40), np.diff(x.indptr)) % 2 == 0)] = 0
    names = [f"c{i}" for i in range(40)]
    obs = pd.DataFrame({"group": ["even", "odd"] * 20}, index=names)
    adata = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(12)]))
    folder = tmp_path_factory.mktemp("zeros")
    SLAFConverter().convert_anndata(adata, folder / "both.slaf")
    SLAFConverter().convert_anndata(adata, folder / "one.slaf", gene_index=False)
    return folder, x.toarray()


@pytest.mark.parametrize("name", ["both", "one"])
def test_pseudobulk_counts_stored_zeros_as_expressing(with_zeros, name):
    """scverse/scanpy#488 n_genes is not the number of genes with non-zero expression"""
    folder, x = with_zeros
    found = SLAFArray(folder / f"{name}.slaf").query(
        "SELECT \"group\", gene_id, total, n_expressing FROM pseudobulk(expression, 'group')"
    )
    want = set()
    for at, group in enumerate(["even", "odd"]):
        part = x[at::2]
        for gene in np.flatnonzero((part != 0).any(0)):
            want.add((group, f"g{gene}", part[:, gene].sum(), (part[:, gene] != 0).sum()))
    assert set(found.rows()) == want


def test_rows_out_of_order_are_not_written(tmp_path):
    """chanzuckerberg/cellxgene-census#715 non-canonical X"""
    indptr, data = np.array([0, 3]), np.ones(3, np.float32)
    for genes in ([0, 2, 2], [0, 2, 1]):
        writer = _slaf.Writer(str(tmp_path / "x.slaf"), (1, 3), "float32")
        with pytest.raises(SlafError, match="names column"):
            writer.append(indptr, np.array(genes, np.int32), data)
        writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_validate_calls_a_dataset_with_a_gene_twice_well(tmp_path):
    """chanzuckerberg/cellxgene-census#715 non-canonical X; as slafdb writes it"""
    adata = ad.AnnData(sparse.csr_matrix(np.ones((3, 4), np.float32)))
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf", gene_index=False)
    dataset = _slaf.Dataset(str(tmp_path / "x.slaf"), None)

    def problems(genes: list[int]) -> list[str]:
        revision = _slaf.Revision(_slaf.Dataset(str(tmp_path / "x.slaf"), None))
        genes = pa.table({"gene_integer_id": pa.array(genes, pa.uint16())})
        revision.put("expression", genes.to_reader())
        revision.publish(dataset.config, "test")
        checks = _slaf.validate(_slaf.Dataset(str(tmp_path / "x.slaf"), None))
        return [problem for what, problem in checks if problem and "one value" in what]

    assert problems([0, 1, 2, 3] * 3) == []
    assert problems([3, 1, 2, 0] + [0, 1, 2, 3] * 2) == []
    assert problems([0, 1, 2, 3, 0, 1, 2, 3, 2, 1, 2, 3])[0].startswith("cell 2 has gene 2 twice")
    assert problems([1, 3, 2, 3] + [0, 1, 2, 3] * 2)[0].startswith("cell 0 has gene 3 twice")
