"""The input formats of conversions. The format is detected from the input."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from slaf._slaf import SlafError
from slaf.data.sources.base import Source
from slaf.data.sources.mudata import no_modalities
from slaf.dataset import Dataset

#: Names of formats, as values of `input_format`.
FORMATS = (
    "auto", "h5ad", "h5mu", "zarr", "10x_mtx", "10x_h5", "starsolo", "kb", "alevin", "parse",
    "slaf", "tiledb",
)  # fmt: skip
#: slafdb's names for them.
_ALIASES = {"anndata": "h5ad", "hdf5": "10x_h5", "h5": "10x_h5", "mtx": "10x_mtx", "soma": "tiledb"}
_ALIASES |= {"h5mu": "h5ad", "mudata": "h5ad"}


def open_source(
    path: str | os.PathLike[str],
    input_format: str = "auto",
    *,
    genome: str | None = None,
    measurement: str = "RNA",
    layer: str = "data",
    modality: str | None = None,
    skip: Collection[str] = (),
    options: dict[str, str] | None = None,
) -> Source:
    """Opens the input at `path`, in any format.

    Raises
    ------
    FileNotFoundError
        There is nothing at `path`.
    SlafError
        Its format is unknown, or it is damaged.
    """
    name = os.path.expanduser(os.fspath(path))
    kind = _ALIASES.get(input_format, input_format)
    if kind not in FORMATS:
        raise SlafError(
            f"There is no format `{input_format}`. Known formats are {', '.join(FORMATS)}."
        )
    if kind == "auto":
        kind = detect(name)
    if modality is not None and kind not in ("h5ad", "zarr"):
        raise no_modalities(name, modality)
    if kind == "slaf":
        from slaf.data.sources.slaf import slaf_source
        from slaf.lazy.state import HandleState

        return slaf_source(HandleState.of_dataset(Dataset.open(name, options=options)))
    if kind == "tiledb":
        from slaf.data.sources.soma import soma_source

        return soma_source(name, measurement=measurement, layer=layer)
    if "://" in name:
        from slaf.data.sources.remote import remote_source

        return remote_source(
            name, kind, genome=genome, modality=modality, skip=skip, options=options
        )
    from slaf.data.sources.folders import FOLDER_FORMATS, folder_format, folder_source

    place = Path(name)
    if not place.exists() and folder_format(place) is None:
        raise FileNotFoundError(f"There is nothing at `{name}`. Check the spelling.")
    if kind in FOLDER_FORMATS:
        return folder_source(place, kind)
    if kind == "10x_h5":
        from slaf.data.sources.tenx_h5 import h5_source

        return h5_source(place, genome=genome)
    if kind == "zarr":
        from slaf.data.sources.zarr_store import zarr_source

        return zarr_source(place, modality=modality, skip=skip)
    from slaf.data.sources.h5ad import h5ad_source

    return h5ad_source(place, modality=modality, skip=skip)


def detect(name: str) -> str:
    """The format of the input `name`."""
    from slaf.data.sources.folders import folder_format
    from slaf.data.sources.other_software import by_name, elsewhere
    from slaf.data.sources.soma import is_soma
    from slaf.data.sources.tenx_h5 import is_tenx_h5
    from slaf.data.sources.zarr_store import is_zarr

    if "://" in name:
        if foreign := by_name(name):
            raise foreign
        web = name.startswith(("http://", "https://"))
        return "h5ad" if web or name.endswith((".h5ad", ".h5mu", ".h5")) else "slaf"
    path = Path(name)
    if path.is_dir() and (path / "config.json").exists():
        return "slaf"
    if kind := folder_format(path):
        return kind
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at `{name}`. Check the spelling.")
    if path.is_dir():
        if is_soma(path):
            return "tiledb"
        if is_zarr(path):
            return "zarr"
        raise SlafError(
            f"`{name}` is not a dataset that can be converted: no SLAF dataset, no 10x folder with "
            "matrix.mtx, barcodes.tsv and features.tsv, no folder of STARsolo, kb, alevin or "
            "Parse, no AnnData of zarr, and no TileDB-SOMA experiment."
        )
    if is_zarr(path):
        return "zarr"
    if is_tenx_h5(path):
        return "10x_h5"
    if foreign := elsewhere(path):
        raise foreign
    return "h5ad"


def inputs_in(folder: str | os.PathLike[str]) -> list[Path]:
    """The inputs directly inside a folder that is not an input itself, by name."""
    from slaf.data.sources.tenx_mtx import matrices

    found = matrices(folder)
    for path in sorted(Path(folder).iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix in (".h5ad", ".h5mu", ".h5") or (path.is_dir() and _is_input(path)):
            found.append(path)
    return sorted(found)


def _is_input(folder: Path) -> bool:
    try:
        detect(os.fspath(folder))
    except SlafError:
        return False
    return True
