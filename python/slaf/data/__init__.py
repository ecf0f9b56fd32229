"""Converts, appends to and exports datasets."""

from slaf.data.converter import SLAFConverter

__all__ = ["SLAFConverter"]
