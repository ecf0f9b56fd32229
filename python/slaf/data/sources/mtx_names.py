"""The files beside a matrix.mtx that name its cells and genes."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slaf._slaf import SlafError
from slaf.data.sources.mtx import zipped
from slaf.data.sources.tenx import damaged, unique

#: First words of a heading, which is not a cell or gene.
_HEADINGS = frozenset(
    "barcode barcodes cell cells cell_id cellid cell_barcode cell_barcodes barcode_id cellkey "
    "cell_name bc_wells gene genes gene_id gene_ids geneid gene_name gene_names gene_symbol "
    "gene_symbols symbol symbols feature features feature_id feature_ids feature_name featurekey "
    "ensembl ensembl_id id name names index x v1".split()
)

#: 10x's types of features, which are not names of genes.
_FEATURE_TYPES = {
    "Gene Expression", "Antibody Capture", "CRISPR Guide Capture", "Multiplexing Capture",
    "Peaks", "Custom", "Antigen Capture",
}  # fmt: skip


def file_in(folder: Path, *names: str) -> Path | None:
    """The first existing file of these names, plain or gzipped."""
    paths = (folder / f"{name}{end}" for name in names for end in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def needed_in(folder: Path, *names: str, whole: str) -> Path:
    """The same, but the file must exist; otherwise an error says to copy `whole`."""
    path = file_in(folder, *names)
    if path is None:
        raise SlafError(f"`{folder}` lacks `{names[0]}`. Copy the whole {whole}.")
    return path


def table(path: Path, sizes: Collection[int] = (), **options: Any) -> pd.DataFrame:
    """The lines of a file as rows of a table, with quotes kept. If there is one line
    more than the matrix has cells or genes (one of `sizes`) and it is a heading, it
    gives the names of the columns; otherwise they are numbered."""
    frame = _read(path, **options)
    if not len(frame) or len(frame) in sizes or len(frame) - 1 not in sizes:
        return _unquoted(frame)
    heading = [str(name).strip('"') for name in frame.iloc[0]]
    if not {heading[0].lower(), heading[-1].lower()} & _HEADINGS and heading[0]:
        return _unquoted(frame)
    # Read again: with its heading, a column of numbers is text.
    frame = _unquoted(_read(path, skiprows=1, **options))
    frame.columns = [name or f"column_{i + 1}" for i, name in enumerate(heading)]
    return frame


def _read(path: Path, skiprows: int = 0, **options: Any) -> pd.DataFrame:
    ending = path.name.lower().removesuffix(".gz").rsplit(".", 1)[-1]
    try:
        # There are genes named NA and NAN, so no text is a missing value.
        return pd.read_csv(
            path,
            header=None,
            sep="," if ending == "csv" else "\t",
            keep_default_na=False,
            quoting=csv.QUOTE_NONE,
            compression="gzip" if zipped(path) else None,
            skiprows=skiprows,
            **options,
        )
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise damaged(path, error) from None


def _unquoted(frame: pd.DataFrame) -> pd.DataFrame:
    """Removes quotes if all values of a column have them, as R writes text, and removes
    empty columns, which a tab at the end of each line makes."""
    for place, column in enumerate(frame):
        text = frame[column]
        if text.dtype.kind not in "biuf" and len(text):
            if text.str.fullmatch(r'"[^"]*"', na=False).all():
                frame.isetitem(place, text.str[1:-1])
    empty = [name for name in frame.columns[1:] if (frame[name].astype(str) == "").all()]
    return frame.drop(columns=empty) if len(frame) else frame


def cells_frame(cells: pd.DataFrame) -> pd.DataFrame:
    """obs from a file of barcodes: the index is the first column with distinct values
    that does not just number the lines; the others become columns."""
    if not len(cells):
        return pd.DataFrame(index=pd.Index([], dtype=object))
    names = list(cells.columns)
    if len(names) == 1:
        return pd.DataFrame(index=pd.Index(cells[names[0]].to_numpy(object), dtype=object))
    count = [str(i + 1) for i in range(len(cells))]
    named = (n for n in names if cells[n].is_unique and list(cells[n].astype(str)) != count)
    barcode = next(named, names[0])
    obs = pd.DataFrame(index=pd.Index(cells[barcode].astype(str).to_numpy(object), dtype=object))
    for place, name in enumerate(names):
        if name != barcode and list(cells[name].astype(str)) != count:
            label = f"barcode_{place + 1}" if isinstance(name, (int, np.integer)) else name
            obs[label] = cells[name].to_numpy()
    return obs


def genes_frame(genes: pd.DataFrame, var_names: str = "gene_symbols") -> pd.DataFrame:
    """var from a file of features: an id, a name and a type for each gene, or a single
    column."""
    if not len(genes):
        return pd.DataFrame(index=pd.Index([], dtype=object))
    columns = {i: genes.iloc[:, i] for i in range(len(genes.columns))}
    kinds = 2
    if len(columns) == 2 and set(columns[1].astype(str)) <= _FEATURE_TYPES:
        kinds = 1
    ids = columns[0]
    if len(columns) == 1 or kinds == 1:
        var = pd.DataFrame(index=unique(ids.astype(str)))
    elif var_names == "gene_symbols":
        symbols = columns[1].astype(str)
        var = pd.DataFrame({"gene_ids": ids.to_numpy()}, index=unique(symbols))
    else:
        symbols = columns[1].astype(str)
        var = pd.DataFrame({"gene_symbols": symbols.to_numpy()}, index=unique(ids.astype(str)))
    if kinds in columns:
        var["feature_types"] = columns[kinds].to_numpy()
    if len(columns) == 6 and isinstance(genes.columns[0], (int, np.integer)):
        # Chromosome, start and end; an ARC .h5 file has them as one text, `interval`.
        place = {i: columns[i].astype(str) for i in (3, 4, 5)}
        interval = place[3] + ":" + place[4] + "-" + place[5]
        var["interval"] = interval.where(place[3] != "", "NA").to_numpy()
    else:
        for i in range(3, len(columns)):
            name = genes.columns[i]
            label = name if isinstance(name, str) else f"feature_{i + 1}"
            var[label] = columns[i].to_numpy()
    return var


def named_genes(ids: pd.Series, names: pd.Series) -> pd.DataFrame:
    """var from the ids and names of genes; a gene without a name is called by its id."""
    ids, names = ids.astype(str), names.astype(str)
    names = names.where(names != "", ids)
    return pd.DataFrame({"gene_ids": ids.to_numpy()}, index=unique(names))
