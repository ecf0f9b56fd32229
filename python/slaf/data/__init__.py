"""Making datasets."""

from slaf.data.converter import SLAFConverter

__all__ = ["SLAFConverter"]
