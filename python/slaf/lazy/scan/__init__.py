"""Tables of datasets and handles as Polars LazyFrames. Filters on cells or genes alone are
evaluated on their metadata. Values are then read, block by block, only for the
remaining cells and genes."""

from slaf.lazy.scan.source import Look, registered
from slaf.lazy.scan.tables import source_of

__all__ = ["Look", "registered", "source_of"]
