"""Output of alevin-fry and `salmon alevin --dumpMtx`: a folder `alevin` with a matrix
`quants_mat.mtx` of cells × genes, `quants_mat_rows.txt` (cells) and
`quants_mat_cols.txt` (genes).

alevin-fry's USA mode counts spliced, unspliced and ambiguous molecules of each gene
side by side in one matrix. X is the sum of spliced and ambiguous, as in pyroe's
`load_fry` and fishpond's `loadFry`, and each of the three is a layer.

https://alevin-fry.readthedocs.io/en/latest/quant.html
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from slaf._slaf import SlafError
from slaf.data.sources.base import Parts, Source
from slaf.data.sources.mtx import ColumnsOf, MtxRows, Names, read_header
from slaf.data.sources.mtx_names import (
    cells_frame,
    file_in,
    genes_frame,
    named_genes,
    needed_in,
    table,
)
from slaf.data.sources.tenx_mtx import source_of

#: The folder to copy if a file is missing, for the message.
_WHOLE = "folder `alevin`"

_NAME = "quants_mat"
#: Files with alevin-fry's metadata of a run, by version.
_NOTES = ("quant.json", "meta_info.json")
#: The counts, in the order in which they are side by side.
_LAYERS = ("spliced", "unspliced", "ambiguous")


def is_alevin(folder: Path) -> bool:
    return _place(folder) is not None


def alevin_source(folder: str | Path) -> Source:
    folder = Path(folder)
    place = _place(folder)
    matrix = None if place is None else file_in(place, f"{_NAME}.mtx")
    if place is None or matrix is None:
        raise SlafError(
            f"`{folder}` holds counts of alevin in its own binary form, or none. Run `salmon "
            "alevin` with `--dumpMtx` or use `alevin-fry quant`, and convert that; or read it in "
            "R with `tximport(files, type = 'alevin')`."
        )
    cells, genes = (
        needed_in(place, f"{_NAME}_{end}.txt", whole=_WHOLE) for end in ("rows", "cols")
    )
    header = read_header(matrix)
    sizes = {header.rows, header.columns}
    barcodes, ids = table(cells, sizes, dtype=str), table(genes, sizes, dtype=str)
    width = len(ids)
    if _usa(place, len(ids), sizes, len(barcodes)):
        width = max(sizes - {len(barcodes)}, default=len(barcodes))
        ids = ids[: width // 3]
    x = MtxRows(matrix, Names(cells, len(barcodes)), Names(genes, width), cells_first=True)
    layers = {}
    if width != len(ids):
        count = len(ids)
        part = np.arange(width) // count
        within = np.arange(width) % count
        layers = {
            layer: ColumnsOf(x, np.where(part == number, within, -1), count)
            for number, layer in enumerate(_LAYERS)
        }
        x = ColumnsOf(x, np.where(part == 1, -1, within), count)
    parts = Parts(obs=cells_frame(barcodes), var=_genes(place, ids), layers=layers)
    notes = [path for name in _NOTES if (path := file_in(place.parent, name))]
    return source_of(_called(folder), x, parts, [matrix, cells, genes, *notes], counts=False)


def _place(folder: Path) -> Path | None:
    """The folder of the matrix: `folder`, `alevin` inside it, or simpleaf's."""
    for place in (folder, folder / "alevin", folder / "af_quant" / "alevin"):
        if any(file_in(place, f"{_NAME}{end}") for end in (".mtx", "")):
            return place
    return None


def _called(folder: Path) -> str:
    path = folder.resolve()
    while path.name in ("alevin", "af_quant"):
        path = path.parent
    return path.name


def _usa(place: Path, genes: int, sizes: set[int], cells: int) -> bool:
    """Whether each gene is counted three times, according to alevin-fry's metadata."""
    for name in _NOTES:
        path = place.parent / name
        if path.is_file():
            try:
                return bool(json.loads(path.read_text()).get("usa_mode", False))
            except ValueError:
                break
    # Without metadata: there are three columns of counts per name of a gene.
    return 3 * genes in sizes and genes not in sizes - {cells}


def _genes(place: Path, ids: pd.DataFrame) -> pd.DataFrame:
    """var; if simpleaf wrote the names of the gene ids, they are used."""
    for folder in (place, *list(place.resolve().parents)[:2]):
        path = folder / "gene_id_to_name.tsv"
        if path.is_file() and len(ids):
            known = table(path, dtype=str)
            if len(known.columns) >= 2:
                names = known.drop_duplicates(0).set_index(0)[1]
                return named_genes(ids[0], ids[0].map(names).fillna(""))
    return genes_frame(ids)
