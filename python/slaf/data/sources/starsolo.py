"""Output of STARsolo: `Solo.out` with a folder for each kind of counts (`Gene`,
`GeneFull`, ...), in which `raw` and `filtered` look like Cell Ranger's; and `Velocyto`
with spliced, unspliced and ambiguous counts, which become layers.

https://github.com/alexdobin/STAR/blob/master/docs/STARsolo.md
"""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from slaf._slaf import SlafError
from slaf.data.sources.base import Matrix, Parts, Source
from slaf.data.sources.mtx import MtxRows, Names, read_header, taken
from slaf.data.sources.mtx_names import cells_frame, file_in, genes_frame, table
from slaf.data.sources.tenx_mtx import matrix_at, source_of, trio_at

_LAYERS = ("spliced", "unspliced", "ambiguous")
_CALLED = ("filtered", "raw")


def is_starsolo(folder: Path) -> bool:
    """Whether a folder is `Solo.out`, one of its kinds of counts, or `Velocyto/raw`."""
    return _is_velocyto(folder) or _called(folder) is not None or bool(_kinds(folder))


def starsolo_source(folder: str | Path) -> Source:
    """A source whose X is `Gene`, or the only kind of counts, with the layers of
    Velocyto. With only Velocyto, X is `spliced`. If there are called cells
    (`filtered`), those are used."""
    folder = Path(folder)
    kinds = _kinds(folder)
    if kinds:
        folder = folder / _chosen(folder, kinds)
    called = folder if _is_velocyto(folder) else _called(folder)
    if called is None:
        raise SlafError(
            f"`{folder}` is not an output folder of STARsolo: neither it nor `filtered` or `raw` "
            "in it has a matrix. Name `Solo.out` or a folder in it, such as `Solo.out/Gene`."
        )
    name = _name(folder)
    if _is_velocyto(called):
        layers, obs, var, files = _velocyto(called)
        x = layers["spliced"]
    else:
        trio = trio_at(called)
        x, obs, var = trio.read()
        files = [trio.matrix, trio.cells, trio.genes]
        layers, more = _beside(called, obs, var)
        files += more
    return source_of(name, x, Parts(obs=obs, var=var, layers=layers), files, counts=True)


def _kinds(folder: Path) -> list[str]:
    """The kinds of counts in a `Solo.out`."""
    inside = (p for p in sorted(folder.iterdir()) if p.is_dir())
    known = (p for p in inside if p.name.startswith("Gene") or p.name == "Velocyto")
    return [path.name for path in known if _called(path) is not None]


def _chosen(folder: Path, kinds: list[str]) -> str:
    counts = [kind for kind in kinds if kind != "Velocyto"]
    if len(counts) < 2:
        return (counts or kinds)[0]
    if "Gene" not in counts:
        names = ", ".join(f"`{folder / kind}`" for kind in counts)
        raise SlafError(f"`{folder}` has several kinds of counts. Name one of them: {names}.")
    others = ", ".join(f"`{folder / kind}`" for kind in counts if kind != "Gene")
    warnings.warn(
        f"X is of `{folder / 'Gene'}`. For other counts name their folder: {others}.",
        UserWarning,
        stacklevel=2,
    )
    return "Gene"


def _called(folder: Path) -> Path | None:
    """`filtered` or `raw` in the folder of a kind, which must contain no other folders."""
    inside = [path for path in folder.iterdir() if path.is_dir()]
    if any(path.name not in _CALLED for path in inside):
        return None
    parts = {path.name: path for path in inside if _is_velocyto(path) or matrix_at(path)}
    return next((parts[name] for name in _CALLED if name in parts), None)


def _name(folder: Path) -> str:
    """The name of the sample: STAR puts it before `Solo.out`."""
    for path in (folder.resolve(), *folder.resolve().parents[:2]):
        if path.name.endswith("Solo.out"):
            return path.name.removesuffix("Solo.out").rstrip("_.-") or path.parent.name
    return folder.resolve().name


def _is_velocyto(folder: Path) -> bool:
    return file_in(folder, "spliced.mtx") is not None or _together(folder) is not None


def _together(folder: Path) -> Path | None:
    """The matrix of STAR before 2.7.5, with three numbers per entry."""
    matrix = file_in(folder, "matrix.mtx")
    try:
        return matrix if matrix and len(read_header(matrix).first) == 5 else None
    except SlafError:
        return None


def _velocyto(
    folder: Path,
) -> tuple[dict[str, Matrix], pd.DataFrame, pd.DataFrame, list[Path]]:
    """Layers, obs and var of a Velocyto folder, and its files."""
    together = _together(folder)
    matrices = {layer: together or file_in(folder, f"{layer}.mtx") for layer in _LAYERS}
    matrices = {layer: path for layer, path in matrices.items() if path}
    cells, genes = file_in(folder, "barcodes.tsv"), file_in(folder, "features.tsv")
    if cells is None or genes is None:
        lacks = "barcodes.tsv" if cells is None else "features.tsv"
        raise SlafError(f"`{folder}` lacks `{lacks}`. Copy the whole folder of STARsolo.")
    header = read_header(matrices["spliced"])
    sizes = {header.rows, header.columns}
    barcodes, features = table(cells, sizes, dtype=str), table(genes, sizes)
    sides = Names(cells, len(barcodes)), Names(genes, len(features))
    layers = {
        layer: MtxRows(path, *sides, values=3 if together else 1, take=place if together else 0)
        for place, (layer, path) in enumerate(matrices.items())
    }
    files = [*dict.fromkeys(matrices.values()), cells, genes]
    return layers, cells_frame(barcodes), genes_frame(features), files


def _beside(
    called: Path, obs: pd.DataFrame, var: pd.DataFrame
) -> tuple[dict[str, Matrix], list[Path]]:
    """The layers for the cells of X, and their files."""
    place = called.parent.parent / "Velocyto"
    parts = dict.fromkeys((called.name, *_CALLED))
    found = [place / part for part in parts if (place / part).is_dir()]
    found = [folder for folder in found if _is_velocyto(folder)]
    for folder in found:
        layers, cells, genes, files = _velocyto(folder)
        rows = cells.index.get_indexer(obs.index)
        if (rows >= 0).all() and genes.equals(var):
            return {key: taken(layer, rows) for key, layer in layers.items()}, files
    if found:
        raise SlafError(
            f"`{place}` lacks cells or genes of `{called}`: they are of different runs. Name "
            f"`{called}` to convert it alone."
        )
    return {}, []
