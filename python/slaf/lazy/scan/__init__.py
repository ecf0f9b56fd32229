"""Tables of datasets and handles as polars LazyFrames: what of a plan names only
cells or only genes is decided on their metadata, and of the values only what is
left is read, block by block."""

from slaf.lazy.scan.source import Look, registered
from slaf.lazy.scan.tables import source_of

__all__ = ["Look", "registered", "source_of"]
