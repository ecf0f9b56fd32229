"""Files as Cell Ranger writes them, and the AnnData that they contain."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

GENES = [
    ("ENSG01", "CD3D", "Gene Expression"),
    ("ENSG02", "NA", "Gene Expression"),
    ("ENSG03", "TBCE", "Gene Expression"),
    ("ENSG04", "TBCE", "Gene Expression"),
    ("ADT_CD3", "CD3", "Antibody Capture"),
]
CELLS = ["AAAC-1", "AAAG-1", "AAAT-1", "AACC-1"]
#: Gene, cell and count, numbered from 1 as in the format. The third cell is empty.
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
    """Writes a folder as Cell Ranger does; its header announces `says` entries."""
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


def write_h5(path: Path) -> Path:
    """Writes a file as Cell Ranger 3 and later do, with two genomes and unsorted genes
    in a cell."""
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


def write_v2_h5(path: Path) -> Path:
    """Writes a file as Cell Ranger 2 does, with a cell that was called in both genomes."""
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
