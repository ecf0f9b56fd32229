"""Output of `kb count` of kb-python: matrices of cells × genes with `.barcodes.txt`,
`.genes.txt` and `.genes.names.txt` beside them, in `counts_unfiltered` or
`counts_filtered`. The workflow `nac` has separate matrices of mature, nascent and
ambiguous counts, which become layers.

https://kallisto.readthedocs.io/en/latest/manuals/kb.html
"""

from __future__ import annotations

from pathlib import Path

from slaf._slaf import SlafError
from slaf.data.sources.base import Parts, Source
from slaf.data.sources.mtx import MtxRows, Names, read_header
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
_WHOLE = "folder of `kb count`"

_FOLDERS = ("counts_filtered", "counts_unfiltered")
_STEMS = ("cells_x_genes", "cells_x_features")
_LAYERS = ("mature", "nascent", "ambiguous")
#: X is the first of these that exists: the sums that `--sum` makes come before their
#: parts.
_X = ("", ".total", ".cell", ".nucleus", ".mature")


def is_kb(folder: Path) -> bool:
    return _stem(folder) is not None or any(_stem(folder / name) for name in _FOLDERS)


def kb_source(folder: str | Path) -> Source:
    """The matrix in a folder of counts. In kb's whole output, that of the filtered
    cells, if there is one. For `nac`, X is the sum that the user asked kb for, or the
    mature counts."""
    folder = Path(folder)
    inner = [folder / name for name in _FOLDERS if _stem(folder / name)]
    place = folder if _stem(folder) or not inner else inner[0]
    stem = _stem(place)
    if stem is None:
        raise SlafError(
            f"`{folder}` is not an output folder of kb: it has no `cells_x_genes.mtx` and no "
            "folder `counts_unfiltered`. Name the folder that was given as `-o`."
        )
    matrix = next(path for end in _X if (path := file_in(place, f"{stem}{end}.mtx")))
    cells, genes = (
        needed_in(place, f"{stem}.{end}.txt", whole=_WHOLE) for end in ("barcodes", "genes")
    )
    header = read_header(matrix)
    sizes = {header.rows, header.columns}
    barcodes, ids = table(cells, sizes, dtype=str), table(genes, sizes, dtype=str)
    sides = Names(cells, len(barcodes)), Names(genes, len(ids))
    names_file = file_in(place, f"{stem}.genes.names.txt")
    var = genes_frame(ids)
    if names_file is not None and len(ids):
        # A gene without a name is an empty line.
        names = table(names_file, dtype=str, names=[0], skip_blank_lines=False).fillna("")
        if len(names) != len(ids):
            raise SlafError(
                f"`{names_file}` has {len(names)} lines, and `{genes.name}` beside it has "
                f"{len(ids)}. Copy the whole folder again."
            )
        var = named_genes(ids[0], names[0])
    found = {layer: file_in(place, f"{stem}.{layer}.mtx") for layer in _LAYERS}
    layers = {
        layer: MtxRows(path, *sides, cells_first=True) for layer, path in found.items() if path
    }
    files = [matrix, cells, genes, names_file, *found.values()]
    name = folder.resolve()
    return source_of(
        name.parent.name if name.name in _FOLDERS else name.name,
        MtxRows(matrix, *sides, cells_first=True),
        Parts(obs=cells_frame(barcodes), var=var, layers=layers),
        [path for path in files if path],
        counts=False,
    )


def _stem(folder: Path) -> str | None:
    for stem in _STEMS:
        if any(file_in(folder, f"{stem}{end}.mtx") for end in _X):
            return stem
    return None
