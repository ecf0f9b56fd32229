"""Inputs of other software: how to recognise them, and how to convert them to h5ad."""

from __future__ import annotations

from pathlib import Path
from string import Template

from slaf._slaf import SlafError

_LOOM = ("a loom file", "in Python: `anndata.io.read_loom('$path').write_h5ad('$stem.h5ad')`")
_SEURAT = (
    "a Seurat object of SeuratDisk",
    "in R: `SeuratDisk::Convert('$path', dest = 'h5ad')`",
)
_COUNTS = "convert `filtered_feature_bc_matrix.h5` of the same run"
_T = "`, with `.T` before `.write_h5ad` if its rows are genes"

#: Endings, what such a file is, and how to convert it to a supported format. `$path` is
#: the file, `$stem` its path without the ending.
_KNOWN = {
    ".rds": ("an object of R", "in R: `anndataR::write_h5ad(readRDS('$path'), '$stem.h5ad')`"),
    ".rda .rdata": (
        "a workspace of R",
        "in R: `anndataR::write_h5ad(get(load('$path')[1]), '$stem.h5ad')`",
    ),
    ".qs": (
        "an object of R, saved by qs",
        "in R: `anndataR::write_h5ad(qs::qread('$path'), '$stem.h5ad')`",
    ),
    ".qs2": (
        "an object of R, saved by qs2",
        "in R: `anndataR::write_h5ad(qs2::qs_read('$path'), '$stem.h5ad')`",
    ),
    ".h5seurat": _SEURAT,
    ".loom": _LOOM,
    ".csv .csv.gz .csv.bz2": (
        "a table of text",
        f"in Python: `anndata.io.read_csv('$path').write_h5ad('$stem.h5ad'){_T}",
    ),
    ".tsv .tsv.gz .tab .txt .txt.gz": (
        "text, perhaps a table",
        "in Python: `anndata.io.read_csv('$path', delimiter='\\t').write_h5ad('$stem.h5ad')" + _T,
    ),
    ".xlsx .xls": (
        "a table of Excel",
        "in Python: `anndata.AnnData(pandas.read_excel('$path', index_col=0))"
        f".write_h5ad('$stem.h5ad'){_T}",
    ),
    ".parquet .pq": (
        "a table of Parquet",
        "in Python: `anndata.AnnData(pandas.read_parquet('$path')).write_h5ad('$stem.h5ad')" + _T,
    ),
    ".npz": (
        "arrays of numpy or scipy",
        "in Python: `anndata.AnnData(scipy.sparse.load_npz('$path')).write_h5ad('$stem.h5ad')" + _T,
    ),
    ".pkl .pickle": (
        "a pickle of Python",
        "in Python, if it is an AnnData: `pandas.read_pickle('$path').write_h5ad('$stem.h5ad')`",
    ),
    ".mtx .mtx.gz": (
        "a matrix without the names of its cells and genes beside it",
        "Put its barcodes.tsv and features.tsv (or genes.tsv) into the folder, or take it without "
        "names, in Python: `scanpy.read_mtx('$path').T.write_h5ad('$stem.h5ad')`",
    ),
    ".zip": ("an archive", "Unpack it (`unzip '$path' -d '$stem'`) and convert the folder"),
    ".tar .tar.gz .tgz .tar.bz2 .tar.xz": (
        "an archive",
        "Unpack it (`mkdir '$stem' && tar -xf '$path' -C '$stem'`) and convert the folder",
    ),
    ".h5ad.gz .h5.gz .h5mu.gz .loom.gz .rds.gz": (
        "a compressed file",
        "Unpack it (`gunzip '$path'`) and convert what comes out",
    ),
    ".cloupe": ("a file of 10x's Loupe Browser, which nothing else reads", _COUNTS.capitalize()),
    ".bam .fastq .fastq.gz .fq.gz": (
        "reads, which are not counted yet",
        "Count them with Cell Ranger, STARsolo, alevin-fry or kb, and convert their output",
    ),
    "quants_mat.gz": (
        "counts of salmon alevin in its own binary form",
        "Run `salmon alevin` with `--dumpMtx` and convert its folder, or read it in R with "
        "`tximport('$path', type = 'alevin')`",
    ),
}


def elsewhere(path: str | Path) -> SlafError | None:
    """Why a file cannot be read here, and how to convert it; None if it may be
    readable."""
    path = Path(path)
    if path.is_file() and path.stat().st_size == 0:
        return SlafError(
            f"`{path}` is empty, so it is not an h5ad file or any other input. Copy it again."
        )
    return _of_hdf5(path) or by_name(str(path)) or _of_no_known_name(path)


def by_name(name: str) -> SlafError | None:
    """The same, decided by the ending of a path or URL alone."""
    endings = ((end, known) for ends, known in _KNOWN.items() for end in ends.split())
    fitting = [found for found in endings if name.lower().endswith(found[0])]
    if not fitting:
        return None
    end, known = max(fitting, key=lambda found: len(found[0]))
    # For a remote file, the advice is to convert a copy.
    path = name.rsplit("/", 1)[-1] if "://" in name else name
    return _sentence(path, *known, stem=path[: -len(end)].rstrip("/") or "unpacked")


def _of_hdf5(path: Path) -> SlafError | None:
    """What an HDF5 file is if it is neither 10x nor anndata."""
    import h5py

    if not path.is_file() or not h5py.is_hdf5(path):
        return None
    try:
        with h5py.File(path, "r") as file:
            inside = set(file)
    except OSError:
        return None
    if inside & {"obs", "var", "X", "mod"}:
        return None
    name, stem = str(path), str(path.with_suffix(""))
    if {"matrix", "row_attrs"} <= inside:
        return _sentence(name, *_LOOM, stem)
    if {"assays", "cell.names"} <= inside:
        return _sentence(name, *_SEURAT, stem)
    if {"barcode_idx", "umi"} <= inside:
        return _sentence(name, "10x's list of molecules", _COUNTS.capitalize(), stem)
    names = ", ".join(f"`{key}`" for key in sorted(inside)[:6]) or "nothing"
    return SlafError(
        f"`{path}` is HDF5, but neither an AnnData nor a matrix of 10x: it holds {names}. Turn it "
        "into h5ad with the software that wrote it."
    )


def _of_no_known_name(path: Path) -> SlafError | None:
    if path.suffix.lower() in (".h5ad", ".h5mu", ".h5", ".hdf5"):
        return None
    import h5py

    if h5py.is_hdf5(path):
        return None
    return SlafError(
        f"`{path}` has an unknown format. Convert h5ad, h5mu, zarr, a matrix of 10x, "
        "STARsolo, kb, alevin or Parse, TileDB-SOMA or SLAF."
    )


def _sentence(path: str, what: str, how: str, stem: str) -> SlafError:
    advice = Template(how).substitute(path=path, stem=stem)
    turn = "Turn it into h5ad " if advice.startswith("in ") else ""
    return SlafError(f"`{path}` is {what}, which cannot be converted. {turn}{advice}.")
