"""HDF5 files of 10x Genomics, read as scanpy reads them."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf._slaf import SlafError
from slaf.data.sources.anndata_encodings import read
from slaf.data.sources.base import Matrix, Source, SparseRows, fingerprint, plain, whole
from slaf.data.sources.tenx import NOTE, damaged, unique


def is_tenx_h5(path: str | Path) -> bool:
    """Whether an HDF5 file has the layout of Cell Ranger; False for any other file."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return is_tenx(file)
    except (OSError, ValueError):
        return False


def is_tenx(file: Any) -> bool:
    return bool(_genomes(file)) or _is_v3(file)


def h5_source(path: str | Path, *, genome: str | None = None) -> Source:
    """A source for a file of Cell Ranger 2, with one or several genomes, or of Cell
    Ranger 3 and later."""
    import h5py

    path = Path(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise damaged(path, error) from None
    source = file_source(file, path, path.name, genome)
    source.fingerprint = f"{fingerprint(path)} {genome}" if genome else fingerprint(path)
    return source


def file_source(file: Any, path: Path | str, name: str, genome: str | None) -> Source:
    """A source for the open 10x file, which messages call `path`."""
    try:
        if _is_v3(file):
            layout = _v3
        elif _genomes(file):
            layout = _v2
        else:
            raise SlafError(
                f"`{path}` is HDF5, but has neither a group `matrix` nor one of a genome: it is "
                "no matrix of 10x."
            )
        x, obs, var = layout(file, path, genome)
    except BaseException as error:
        file.close()
        unread = isinstance(error, (OSError, KeyError, TypeError, ValueError))
        if unread and not isinstance(error, SlafError):
            raise damaged(path, error) from None
        raise

    def metadata() -> Any:
        import anndata

        return anndata.AnnData(obs=obs.copy(), var=var.copy())

    return Source(name=name, x=x, metadata=metadata, counts=True, close=file.close)


def _is_v3(file: Any) -> bool:
    import h5py

    return isinstance(file.get("matrix"), h5py.Group)


def _genomes(file: Any) -> list[str]:
    """The groups of Cell Ranger 2, one per genome."""
    import h5py

    marks = {"gene_names", "genes", "barcodes"}
    groups = (name for name, item in file.items() if isinstance(item, h5py.Group))
    return [name for name in groups if len(marks & set(file[name])) >= 2]


def _v3(file: Any, path: Path, genome: str | None) -> tuple[Matrix, pd.DataFrame, pd.DataFrame]:
    from slaf.data.sources.h5_rows import H5Rows

    group = file["matrix"]
    features = _need(path, group, "features")
    _check_triple(path, group, len(_need(path, features, "id")))
    columns = {"gene_ids": _text(_need(path, features, "id"))}
    if "gene_id" in features:  # a matrix of probes
        columns = {"gene_ids": _text(features["gene_id"]), "probe_ids": columns["gene_ids"]}
    columns["feature_types"] = _text(_need(path, features, "feature_type"))
    names = _text(_need(path, features, "name"))
    for tag, item in features.items():
        if hasattr(item, "dtype") and tag not in (
            "name", "feature_type", "id", "gene_id", "_all_tag_keys",
        ):  # fmt: skip
            columns[tag] = item[()] if item.dtype.kind == "b" else _text(item)
    for tag, values in {"name": names, **columns}.items():
        if len(values) != len(names) or len(names) != group["shape"][0]:
            raise _mismatch(path, f"matrix/features/{tag}", len(values), group["shape"][0])
    var = pd.DataFrame(columns, index=pd.Index(names, dtype=object))
    obs = pd.DataFrame(index=pd.Index(_text(group["barcodes"]), dtype=object))
    if "filtered_barcodes" in group:
        obs["filtered_barcodes"] = group["filtered_barcodes"][()].astype(bool)
    x: Matrix = H5Rows(file, "matrix", (len(obs), len(var)), _h5_note(group))
    if genome is not None:
        from slaf.data.sources.joined_matrices import Aligned

        known = var["genome"].unique().tolist() if "genome" in var else []
        if genome not in known:
            raise _no_genome(path, genome, known)
        kept = (var["genome"] == genome).to_numpy()
        x = Aligned(x, np.where(kept, np.cumsum(kept) - 1, -1), int(kept.sum()), str(path))
        var = var[kept]
    var.index = unique(var.index)
    return x, obs, var


def _v2(file: Any, path: Path, genome: str | None) -> tuple[Matrix, pd.DataFrame, pd.DataFrame]:
    from slaf.data.sources.h5_rows import H5Rows

    genomes = _genomes(file)
    if genome is not None and genome not in genomes:
        raise _no_genome(path, genome, genomes)
    chosen = genomes if genome is None else [genome]
    cells, frames = [], []
    for name in chosen:
        group = file[name]
        ids, symbols = (_text(_need(path, group, key)) for key in ("genes", "gene_names"))
        _check_triple(path, group, len(ids))
        if len(symbols) != len(ids):
            raise _mismatch(path, f"{name}/gene_names", len(symbols), len(ids))
        cells.append(pd.Index(_text(group["barcodes"]), dtype=object))
        frames.append(pd.DataFrame({"gene_ids": ids}, index=pd.Index(symbols, dtype=object)))
    if len(chosen) == 1:
        (name,), (barcodes,), (var,) = chosen, cells, frames
        var.index = unique(var.index)
        note = _h5_note(file[name])
        return (
            H5Rows(file, name, (len(barcodes), len(var)), note),
            pd.DataFrame(index=barcodes),
            var,
        )
    # The cells of each genome are those that were called in it.
    every = pd.Index(np.concatenate(cells)).unique()
    beside = []
    for name, barcodes, frame in zip(chosen, cells, frames, strict=True):
        frame["genome"], group = name, file[name]
        note = {"dtype": group["data"].dtype.name, "encoding": "csr"}
        rows = whole(H5Rows(file, name, (len(barcodes), len(frame)), note)).tocoo()
        row = every.get_indexer(barcodes)[rows.row]
        beside.append(sparse.csr_matrix((rows.data, (row, rows.col)), (len(every), len(frame))))
    x = sparse.hstack(beside, format="csr")
    var = pd.concat(frames)
    var.index = unique(var.index)
    return SparseRows(x, x.shape, _h5_note(x)), pd.DataFrame(index=every), var


def _h5_note(group: Any) -> dict[str, Any]:
    """The dtype of X: scanpy returns Cell Ranger's int32 as float32, and any other
    dtype unchanged."""
    dtype = np.dtype(group.data.dtype if sparse.issparse(group) else group["data"].dtype)
    if dtype == np.int32:
        return dict(NOTE)
    return {"dtype": plain(np.zeros(0, dtype)).dtype.name, "encoding": "csr"}


def _need(path: Path, group: Any, name: str) -> Any:
    if name not in group:
        raise SlafError(
            f"`{path}` lacks `{group.name.strip('/')}/{name}`, which matrices of 10x have. "
            "Copy the file again, or write it again."
        )
    return group[name]


def _check_triple(path: Path, group: Any, genes: int) -> None:
    """Checks that the arrays of X exist and have matching shapes."""
    where = group.name.strip("/")
    shape, barcodes, indptr, indices, data = (
        _need(path, group, name) for name in ("shape", "barcodes", "indptr", "indices", "data")
    )
    width, height = (int(n) for n in shape[()])
    if genes != width:
        raise _mismatch(path, f"{where}/shape", width, genes, "genes")
    for name, has, wanted in (
        ("barcodes", len(barcodes), height),
        ("indptr", len(indptr), height + 1),
        ("indices", len(indices), len(data)),
    ):
        if has != wanted:
            raise _mismatch(path, f"{where}/{name}", has, wanted)


def _text(dataset: Any) -> np.ndarray:
    values = read(dataset, dataset.name.strip("/"))
    return values.astype(str).astype(object)


def _mismatch(path: Path, what: str, has: int, wanted: int, of: str = "entries") -> SlafError:
    return SlafError(
        f"`{path}` is damaged: `{what}` has {has} {of}, and {wanted} were expected. "
        "Copy the file again."
    )


def _no_genome(path: Path, genome: str, known: list[str]) -> SlafError:
    near = difflib.get_close_matches(genome, known, 3, 0.4) or known[:8]
    names = ", ".join(f"`{name}`" for name in near)
    return SlafError(
        f"`{path}` has no genome `{genome}`. "
        + (f"It has {names}." if names else "It does not say of which genome its genes are.")
    )
