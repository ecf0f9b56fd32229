"""Text files of counts in the formats of other tools."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata as ad
import numpy as np
from scipy import sparse

CELLS = [f"AAAC{i:03}-1" for i in range(9)]
IDS = [f"ENSG{i:03}" for i in range(12)]
NAMES = ["A1BG", "TBCE", "TBCE", *[f"G{i}" for i in range(3, 12)]]


def counts(seed: int = 0, cells: int = len(CELLS), genes: int = len(IDS)) -> sparse.csr_matrix:
    """Cells × genes; the third cell is empty."""
    x = np.random.default_rng(seed).poisson(0.7, (cells, genes))
    x[2] = 0
    return sparse.csr_matrix(x)


def write(path: Path, text: str, newline: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.replace("\n", newline).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def mtx(x, by: str = "column", comment: str = "%", form: str = "{} {} {}") -> str:
    """Matrix Market text of `x` as it stands, in the order of its columns or rows."""
    x = sparse.coo_matrix(x)
    order = np.lexsort((x.row, x.col) if by == "column" else (x.col, x.row))
    lines = [form.format(x.row[i] + 1, x.col[i] + 1, x.data[i]) for i in order]
    size = f"{x.shape[0]} {x.shape[1]} {x.nnz}"
    head = ["%%MatrixMarket matrix coordinate integer general", comment, size]
    return "\n".join([*head, *lines]) + "\n"


def lines(*columns) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def trio(folder: Path, prefix: str = "", x=None, cells=CELLS, genes=None, end: str = ".gz") -> Path:
    """The three files of Cell Ranger 3, with a prefix as GEO has it."""
    x = counts() if x is None else x
    kinds = ["Gene Expression"] * len(IDS)
    write(folder / f"{prefix}matrix.mtx{end}", mtx(x.T))
    write(folder / f"{prefix}barcodes.tsv{end}", lines(cells))
    features = lines(IDS, NAMES, kinds) if genes is None else genes
    write(folder / f"{prefix}features.tsv{end}", features)
    return folder


def same(got: ad.AnnData, want: ad.AnnData) -> None:
    assert list(got.obs_names) == list(want.obs_names)
    assert list(got.var_names) == list(want.var_names)
    assert set(want.layers) == set(got.layers)
    for key in [None, *want.layers]:
        a, b = (x.X if key is None else x.layers[key] for x in (got, want))
        np.testing.assert_array_equal(*(sparse.csr_matrix(x).toarray() for x in (a, b)))
    for frame in ("obs", "var"):
        a, b = getattr(got, frame), getattr(want, frame)
        assert list(a.columns) == list(b.columns)
        for name in b:
            assert list(a[name].astype(str)) == list(b[name].astype(str)), name
