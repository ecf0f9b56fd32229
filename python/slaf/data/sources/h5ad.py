"""h5ad files of every version of anndata, and the modalities of h5mu files.

X is read in blocks, obs and var in ranges of rows, and every other entry by the
encoding that it declares. Files of anndata before 0.7 are read by anndata."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from slaf._slaf import SlafError
from slaf.data.sources.anndata_encodings import (
    H5Columns,
    as_names,
    damaged,
    encoding_of,
    is_frame,
    is_group,
    is_h5,
    left_out,
    place_of,
    read,
    rows_of,
)
from slaf.data.sources.anndata_entries import check, entries, readable, unknown
from slaf.data.sources.base import Matrix, Nothing, Parts, Source, Window, fingerprint, in_memory
from slaf.data.sources.h5_rows import matrix
from slaf.data.sources.mudata import chosen
from slaf.ground.metadata.frames import Columns, index_of

if TYPE_CHECKING:
    import anndata


def h5ad_source(path: Path, *, modality: str | None = None, skip: Collection[str] = ()) -> Source:
    """A source for the h5ad file `path`, or for a modality of an h5mu file, without the
    entries in `skip`.

    Raises
    ------
    SlafError
        It is not such a file, or it is damaged.
    """
    import h5py

    more_filters()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise damaged(path, error) from None
    source = group_source(file, path.name, file.close, modality=modality, skip=skip)
    source.fingerprint = " ".join([fingerprint(path), *([modality] if modality else []), *skip])
    return source


def group_source(
    file: Any,
    name: str,
    close: Callable[[], None],
    *,
    modality: str | None = None,
    skip: Collection[str] = (),
) -> Source:
    """A source for the AnnData in an open HDF5 file or zarr group; `close` closes it."""
    try:
        with _as_one_sentence(file):
            root = chosen(file, modality)
            for group in ("obs", "var"):
                if root.get(group) is None:
                    raise SlafError(f"`{place_of(file)}` is not an h5ad file: it has no `{group}`.")
            x, raw = _x(root, skip), _raw(root, name, skip)
    except BaseException:
        close()
        raise

    def checked() -> None:
        with _as_one_sentence(file):
            check(root, skip)

    return Source(
        name=name,
        x=x,
        metadata=lambda: _metadata(root, skip),
        parts=lambda: parts(root, skip),
        raw=raw,
        close=close,
        check=checked,
        entries=lambda: [name for name, _ in entries(root)],
    )


@contextmanager
def _as_one_sentence(root: Any) -> Iterator[None]:
    """Turns errors of libraries into one sentence."""
    place = place_of(root)
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise error if isinstance(error, SlafError) else damaged(place, error) from None


def _x(root: Any, skip: Collection[str]) -> Matrix:
    if _lacks_x(root, "X") or left_out("X", skip):
        return Nothing((rows_of(root["obs"]), rows_of(root["var"])))
    return _known_matrix(root, "X", (rows_of(root["obs"]), rows_of(root["var"])))


def _lacks_x(root: Any, name: str) -> bool:
    if name not in root:
        return True
    node = root.get(name)
    return node is not None and encoding_of(node)[0] == "null"


def _known_matrix(root: Any, name: str, shape: tuple[int, int]) -> Matrix:
    if not readable(name, root.get(name)):
        raise unknown(root, [name])
    found = matrix(root, name, shape)
    _check_shape(root, name, found.shape, shape)
    return found


def _raw(root: Any, name: str, skip: Collection[str]) -> Source | None:
    if left_out("raw", skip):
        return None
    if "raw.X" in root:
        # anndata before 0.7 stored raw in several entries of the root.
        x = matrix(root, "raw.X", (rows_of(root["obs"]), rows_of(root["raw.var"])))
    elif is_group(root.get("raw")) and not _lacks_x(root, "raw/X"):
        if root.get("raw/var") is None:
            raise SlafError(
                f"`{place_of(root)}` has `raw/X`, but no `raw/var`. Leave raw out "
                '(`skip=["raw"]`, `--skip raw`).'
            )
        shape = rows_of(root["obs"]), rows_of(root["raw/var"])
        x = Nothing(shape) if left_out("raw/X", skip) else _known_matrix(root, "raw/X", shape)
    else:
        return None

    def metadata() -> anndata.AnnData:
        import anndata

        if not _is_old(root):
            return in_memory(rest())
        backed = _backed(root)
        obs = pd.DataFrame(index=backed.obs_names)
        return anndata.AnnData(obs=obs, var=backed.raw.var, varm=dict(backed.raw.varm))

    def rest() -> Parts | anndata.AnnData:
        if _is_old(root):
            return metadata()
        with _as_one_sentence(root):
            return Parts(
                obs=pd.DataFrame(index=index_of(_frame(root, "obs", ()))),
                var=_frame(root, "raw/var", skip),
                varm=_vectors(root, "raw/varm", rows_of(root["raw/var"]), skip),
            )

    return Source(name=name, x=x, metadata=metadata, parts=rest)


def parts(root: Any, skip: Collection[str]) -> Parts | anndata.AnnData:
    """Everything except X and raw; large entries stay in the file."""
    if _is_old(root):
        return _metadata(root, skip)
    with _as_one_sentence(root):
        cells, genes = rows_of(root["obs"]), rows_of(root["var"])
        return Parts(
            obs=_frame(root, "obs", skip),
            var=_frame(root, "var", skip),
            obsm=_vectors(root, "obsm", cells, skip),
            varm=_vectors(root, "varm", genes, skip),
            layers=_matrices(root, "layers", (cells, genes), skip),
            obsp=_matrices(root, "obsp", (cells, cells), skip),
            varp=_matrices(root, "varp", (genes, genes), skip),
            uns=(read(root["uns"], "uns", skip) if _has(root, "uns", skip) else None) or {},
        )


def _has(root: Any, name: str, skip: Collection[str]) -> bool:
    return name in root and not left_out(name, skip)


def _frame(root: Any, name: str, skip: Collection[str]) -> pd.DataFrame | Columns:
    node = root[name]
    if is_frame(node):
        return H5Columns(node, name, skip)
    frame = read(node, name)
    kept = [column for column in frame.columns if not left_out(f"{name}/{column}", skip)]
    names = pd.Index(as_names(frame.index), name=frame.index.name)
    return frame[kept].set_axis(names)


def _section(root: Any, section: str, skip: Collection[str]) -> Iterator[tuple[str, str, Any]]:
    """The key, name and node of each entry in a section."""
    if _has(root, section, skip) and is_group(root[section]):
        for key in root[section].keys():
            if not left_out(f"{section}/{key}", skip):
                yield key, f"{section}/{key}", root[section][key]


def _vectors(root: Any, section: str, length: int, skip: Collection[str]) -> dict[str, Any]:
    found = {}
    for key, name, node in _section(root, section, skip):
        if not is_group(node) and node.dtype.kind == "f":
            found[key] = node if is_h5(node) else Window(node)
        else:
            found[key] = read(node, name, skip)
        shape = np.shape(found[key])
        _check_shape(root, name, shape[0] if shape else shape, length)
    return found


def _matrices(
    root: Any, section: str, shape: tuple[int, int], skip: Collection[str]
) -> dict[str, Any]:
    found = {}
    for key, name, node in _section(root, section, skip):
        values = node.get("data") if is_group(node) else node
        plain = getattr(getattr(values, "dtype", None), "kind", "") in tuple("biuf")
        needed = plain or section == "layers"
        found[key] = matrix(root, name) if needed else read(node, name, skip)
        _check_shape(root, name, found[key].shape, shape)
    return found


def _check_shape(root: Any, name: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise SlafError(
            f"`{place_of(root)}` is damaged: `{name}` has shape {found}, where obs and var ask "
            f"for {wanted}. Write the file again, or leave the entry out "
            f'(`skip=["{name}"]`, `--skip {name}`).'
        )


def _metadata(root: Any, skip: Collection[str]) -> anndata.AnnData:
    """Everything except X and raw, in memory."""
    import anndata

    if not _is_old(root):
        return in_memory(parts(root, skip))
    backed = _backed(root)
    try:
        sections = {
            name: {
                key: value
                for key, value in getattr(backed, name).items()
                # In anndata 0.13, X is the layer without a name.
                if key is not None and not left_out(f"{name}/{key}", skip)
            }
            for name in ("obsm", "varm", "obsp", "varp", "layers", "uns")
        }
        return anndata.AnnData(obs=backed.obs, var=backed.var, **sections)
    finally:
        backed.file.close()


def _is_old(root: Any) -> bool:
    """Whether obs or var have the layout of anndata before 0.7."""
    return any(encoding_of(root[axis])[0] != "dataframe" for axis in ("obs", "var"))


def _backed(root: Any) -> anndata.AnnData:
    import anndata

    if not is_h5(root) or root.file.driver == "fileobj":
        raise SlafError(
            f"`{place_of(root)}` was written by a very old anndata. Convert a copy of it on a "
            "local disk that `anndata.read_h5ad(...).write_h5ad(...)` has written again."
        )
    with warnings.catch_warnings(), _as_one_sentence(root):
        # Files of anndata 0.6 and before can be read, with a warning that they are old.
        warnings.simplefilter("ignore")
        return anndata.read_h5ad(place_of(root), backed="r")


def more_filters() -> None:
    """Makes zstd, lz4 and blosc available, if their package is installed."""
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        pass
