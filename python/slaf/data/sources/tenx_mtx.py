"""A matrix.mtx beside files of its cells and genes, read as scanpy reads them: folders of
Cell Ranger, and files with a prefix (`GSM1_sample_matrix.mtx.gz`) as GEO stores them. A
folder can contain several of the latter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from slaf._slaf import SlafError
from slaf.data.sources.base import Parts, Source, fingerprint, in_memory
from slaf.data.sources.mtx import MtxRows, Names, read_header
from slaf.data.sources.mtx_names import cells_frame, genes_frame, table

_MATRIX = re.compile(r"(?P<prefix>.*?)(?P<word>matrix)?\.mtx(?:\.gz)?", re.I | re.S)
_CELLS, _GENES = ("barcodes", "cells"), ("features", "genes")
_ENDINGS = r"\.(?:tsv|txt|csv)(?:\.gz)?"
#: Characters between a prefix and the name of a file.
_BETWEEN = "_.-"


@dataclass(frozen=True)
class Trio:
    """The three files of a matrix."""

    matrix: Path
    cells: Path
    genes: Path

    @property
    def name(self) -> str:
        return _prefix(self.matrix) or self.matrix.resolve().parent.name

    def read(self, *, var_names: str = "gene_symbols") -> tuple[MtxRows, pd.DataFrame, Any]:
        """X, obs and var."""
        header = read_header(self.matrix)
        sizes = {header.rows, header.columns}
        cells, genes = table(self.cells, sizes, dtype=str), table(self.genes, sizes)
        x = MtxRows(self.matrix, Names(self.cells, len(cells)), Names(self.genes, len(genes)))
        return x, cells_frame(cells), genes_frame(genes, var_names)


def matrices(folder: str | Path) -> list[Path]:
    """The matrix.mtx files of a folder, even if a file beside them is missing, and
    other .mtx files that have barcodes with the same prefix."""
    found: dict[str, Path] = {}
    # If there is a plain and a zipped file, the zipped one comes last.
    for path in sorted(Path(folder).glob("*.[mM][tT][xX]*")):
        match = _MATRIX.fullmatch(path.name)
        if match and path.is_file() and not path.name.startswith("."):
            if match["word"] or (match["prefix"] and _beside(path, _CELLS)):
                found[_prefix(path)] = path
    return list(found.values())


def matrix_at(path: str | Path) -> Path | None:
    """The matrix of a folder with exactly one, of a prefix, or the file itself if a
    file beside it names the cells. None if there is none, or more than one."""
    path = Path(path)
    if path.is_dir():
        found = matrices(path)
        bare = [file for file in found if not _prefix(file)]
        if not found and any(_named(name, "", _CELLS[:1]) for name in _files(path)):
            return path / "matrix.mtx"
        return found[0] if len(found) == 1 else bare[0] if _alone(bare, found) else None
    if path.is_file():
        known = _MATRIX.fullmatch(path.name) and _beside(path, _CELLS)
        return path if known else None
    if not path.parent.is_dir():
        return None
    wanted = path.name.rstrip(_BETWEEN)
    found = [file for file in matrices(path.parent) if _prefix(file) == wanted]
    return found[0] if wanted and found else None


def is_tenx_folder(folder: Path) -> bool:
    """Whether a folder contains one matrix, even an incomplete one. Files with a prefix
    can be beside other inputs."""
    matrix = matrix_at(folder)
    if matrix is None or not _prefix(matrix):
        return matrix is not None
    return not any(
        matrix_at(path) if path.is_dir() else path.suffix in (".h5", ".h5ad", ".h5mu")
        for path in folder.iterdir()
    )


def _alone(bare: list[Path], found: list[Path]) -> bool:
    """Whether a matrix.mtx is the only complete matrix: the others have no cells."""
    return bool(bare) and not any(_beside(file, _CELLS) for file in found if file not in bare)


def trio_at(path: str | Path) -> Trio:
    """The files of the matrix that a folder, a prefix or a matrix.mtx names."""
    path = Path(path)
    matrix = matrix_at(path)
    if matrix is None and path.is_dir() and (found := matrices(path)):
        names = ", ".join(f"`{file.name}`" for file in found[:8])
        raise SlafError(
            f"`{path}` holds {len(found)} matrices: {names}. Name one of them, or convert the "
            "folder without a format to have all as one dataset."
        )
    folder = path if path.is_dir() else path.parent
    if matrix is None and path.is_file():
        matrix = path
    if matrix is None or not matrix.is_file():
        raise _lacks(folder, "matrix.mtx", ("matrix.mtx.gz", "matrix.mtx"))
    before = matrix.name[: len(_prefix(matrix)) + 1] if _prefix(matrix) else ""
    cells = _beside(matrix, _CELLS)
    if cells is None:
        raise _lacks(folder, matrix.name, [f"{before}barcodes.tsv{z}" for z in (".gz", "")])
    genes = _beside(matrix, _GENES) or _shared(matrix)
    if genes is None:
        names = ("features.tsv.gz", "features.tsv", "genes.tsv", "genes.tsv.gz")
        raise _lacks(folder, matrix.name, [before + name for name in names])
    return Trio(matrix, cells, genes)


def mtx_source(path: str | Path, *, var_names: str = "gene_symbols") -> Source:
    """A source for a matrix of Cell Ranger 2 (genes.tsv), of Cell Ranger 3 and later
    (features.tsv), or with their layout, by its folder, prefix or name."""
    if var_names not in ("gene_symbols", "gene_ids"):
        raise SlafError(
            f"Genes cannot be named by `{var_names}`. Say `gene_symbols` or `gene_ids`."
        )
    trio = trio_at(path)
    x, obs, var = trio.read(var_names=var_names)
    files = [trio.matrix, trio.cells, trio.genes]
    return source_of(trio.name, x, Parts(obs=obs, var=var), files, counts=True)


def source_of(name: str, x: Any, parts: Parts, files: list[Path], *, counts: bool) -> Source:
    """A source for the input that consists of `files`."""
    return Source(
        name=name,
        x=x,
        metadata=lambda: in_memory(parts),
        parts=(lambda: parts) if parts.layers else None,
        fingerprint=fingerprint(*files),
        counts=counts,
    )


def _prefix(matrix: Path) -> str:
    match = _MATRIX.fullmatch(matrix.name)
    return match["prefix"].rstrip(_BETWEEN) if match else matrix.name


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def _named(name: str, prefix: str, words: tuple[str, ...]) -> bool:
    start = re.escape(prefix) + f"[{_BETWEEN}]*" if prefix else ""
    return bool(re.fullmatch(f"{start}(?i:{'|'.join(words)}){_ENDINGS}", name, re.S))


def _beside(matrix: Path, words: tuple[str, ...]) -> Path | None:
    """The file of cells or genes that has the prefix of a matrix."""
    found = [n for n in _files(matrix.parent) if _named(n, _prefix(matrix), words)]
    # Cell Ranger 3's file is preferred to 2's, and a zipped one to a plain one.
    order = sorted(found, key=lambda n: (words[0] not in n.lower(), not n.lower().endswith(".gz")))
    return matrix.parent / order[0] if order else None


def _shared(matrix: Path) -> Path | None:
    """The only file of genes in a folder that belongs to no other matrix."""
    others = {_prefix(file) for file in matrices(matrix.parent)}
    pattern = f"(.*?)(?i:{'|'.join(_GENES)}){_ENDINGS}"
    names = [(n, re.fullmatch(pattern, n, re.S)) for n in _files(matrix.parent)]
    found = [n for n, m in names if m and m[1].rstrip(_BETWEEN) not in others]
    return matrix.parent / found[0] if len(found) == 1 else None


def _lacks(folder: Path, what: str, names: Any) -> SlafError:
    looked = ", ".join(f"`{name}`" for name in names)
    return SlafError(
        f"`{folder}` lacks a file of a 10x matrix: none of {looked} is there. Copy all files of "
        f"`{what}`: the matrix, the barcodes and the features."
    )
