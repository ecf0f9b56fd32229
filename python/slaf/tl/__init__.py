"""Tools for lazy handles."""

from slaf.tl.labels import transfer_labels

__all__ = ["transfer_labels"]
