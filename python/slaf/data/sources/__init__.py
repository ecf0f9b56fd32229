"""What can be converted: the format is found by looking at the input."""

from __future__ import annotations

import os
from pathlib import Path

from slaf import SlafError
from slaf.data.sources.base import Source

#: Names of formats, as `input_format` takes them.
FORMATS = ("auto", "h5ad", "10x_mtx", "10x_h5", "slaf", "tiledb")
#: slafdb's names for them.
_ALIASES = {"anndata": "h5ad", "hdf5": "10x_h5", "h5": "10x_h5", "mtx": "10x_mtx", "soma": "tiledb"}


def open_source(
    path: str | os.PathLike[str],
    input_format: str = "auto",
    *,
    genome: str | None = None,
    measurement: str = "RNA",
    layer: str = "data",
    options: dict[str, str] | None = None,
) -> Source:
    """The input at `path`, whatever it is.

    Raises
    ------
    FileNotFoundError
        There is nothing at `path`.
    SlafError
        It is in no known format, or damaged.
    """
    name = os.fspath(path)
    kind = _ALIASES.get(input_format, input_format)
    if kind not in FORMATS:
        raise SlafError(f"There is no format `{input_format}`. Known are {', '.join(FORMATS)}.")
    if kind == "auto":
        kind = detect(name)
    if kind == "slaf":
        from slaf.array import SLAFArray
        from slaf.data.sources.slaf import slaf_source
        from slaf.integrations.anndata import LazyAnnData

        return slaf_source(LazyAnnData(SLAFArray(name, storage_options=options)))
    if kind == "tiledb":
        from slaf.data.sources.soma import soma_source

        return soma_source(name, measurement=measurement, layer=layer)
    if "://" in name:
        return _downloaded(name, kind, genome, options)
    place = Path(name)
    if not place.exists():
        raise FileNotFoundError(f"There is nothing at `{name}`. Check the spelling.")
    if kind == "10x_mtx":
        from slaf.data.sources.tenx_mtx import mtx_source

        return mtx_source(place)
    if kind == "10x_h5":
        from slaf.data.sources.tenx_h5 import h5_source

        return h5_source(place, genome=genome)
    from slaf.data.sources.h5ad import h5ad_source

    return h5ad_source(place)


def _downloaded(uri: str, kind: str, genome: str | None, options: dict[str, str] | None) -> Source:
    """A file on an object store: HDF5 reads local files only."""
    import tempfile

    from slaf import _slaf

    scratch = tempfile.TemporaryDirectory(prefix="slaf-")
    try:
        file = Path(scratch.name) / uri.rsplit("/", 1)[-1]
        _slaf.download(uri, file, options)
        # An .h5 file turns out to be 10x's only now.
        kind = detect(os.fspath(file)) if kind == "h5ad" else kind
        source = open_source(file, kind, genome=genome)
    except BaseException:
        scratch.cleanup()
        raise
    close = source.close

    def clean() -> None:
        close()
        scratch.cleanup()

    source.close = clean
    # The copy is another one each time.
    source.fingerprint = None
    return source


def detect(name: str) -> str:
    """The format of the input `name`."""
    from slaf.data.sources.soma import is_soma
    from slaf.data.sources.tenx_h5 import is_tenx_h5
    from slaf.data.sources.tenx_mtx import is_tenx_folder

    if "://" in name:
        return "h5ad" if name.endswith((".h5ad", ".h5")) else "slaf"
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at `{name}`. Check the spelling.")
    if path.is_dir():
        if (path / "config.json").exists():
            return "slaf"
        if is_tenx_folder(path):
            return "10x_mtx"
        if is_soma(path):
            return "tiledb"
        raise SlafError(
            f"`{name}` is no dataset that can be converted: no SLAF dataset, no 10x folder with "
            "matrix.mtx, barcodes.tsv and features.tsv, and no TileDB-SOMA experiment."
        )
    return "10x_h5" if is_tenx_h5(path) else "h5ad"


def inputs_in(folder: str | os.PathLike[str]) -> list[Path]:
    """What can be converted directly inside a folder that is no input itself,
    by name."""
    found = []
    for path in sorted(Path(folder).iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix in (".h5ad", ".h5") or (path.is_dir() and _is_input(path)):
            found.append(path)
    return found


def _is_input(folder: Path) -> bool:
    try:
        detect(os.fspath(folder))
    except SlafError:
        return False
    return True
