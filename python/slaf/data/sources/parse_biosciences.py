"""Output of Parse Biosciences' pipeline for a sample (`DGE_filtered` or `DGE_unfiltered`):
a matrix of cells × genes, with a table for each axis.

https://support.parsebiosciences.com, "Scanpy Tutorial"
"""

from __future__ import annotations

import zlib
from pathlib import Path

import pandas as pd

from slaf._slaf import SlafError
from slaf.data.sources.base import Parts, Source
from slaf.data.sources.mtx import MtxRows, Names, zipped
from slaf.data.sources.mtx_names import file_in, named_genes, needed_in
from slaf.data.sources.tenx import damaged
from slaf.data.sources.tenx_mtx import source_of

#: Names by version of the pipeline.
_MATRIX = ("count_matrix.mtx", "DGE.mtx")
_GENES = ("all_genes.csv", "genes.csv")
_CELLS = ("cell_metadata.csv",)


def is_parse(folder: Path) -> bool:
    return all(file_in(folder, *names) for names in (_MATRIX, _CELLS))


def parse_source(folder: str | Path) -> Source:
    """The source for a folder. Genes are named by their symbols, and cells by their
    wells (`bc_wells`)."""
    folder = Path(folder)
    matrix, genes, cells = (
        needed_in(folder, *names, whole="folder of Parse's pipeline")
        for names in (_MATRIX, _GENES, _CELLS)
    )
    features, obs = _table(genes), _table(cells)
    if not {"gene_id", "gene_name"} <= set(features.columns):
        raise SlafError(
            f"`{genes}` lacks the column `gene_id` or `gene_name`. Copy the folder again."
        )
    obs = obs.set_index("bc_wells" if "bc_wells" in obs else obs.columns[0]).rename_axis(None)
    obs.index = obs.index.astype(str)
    var = named_genes(features["gene_id"], features["gene_name"].fillna(""))
    for name in features.columns.difference(["gene_id", "gene_name"], sort=False):
        var[name] = features[name].to_numpy()
    sides = Names(cells, len(obs)), Names(genes, len(var))
    return source_of(
        folder.resolve().name,
        MtxRows(matrix, *sides, cells_first=True),
        Parts(obs=obs, var=var),
        [matrix, genes, cells],
        counts=False,
    )


def _table(path: Path) -> pd.DataFrame:
    try:
        # There are genes named NA and NAN.
        return pd.read_csv(
            path,
            keep_default_na=False,
            na_values=[""],
            compression="gzip" if zipped(path) else None,
        )
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise damaged(path, error) from None
