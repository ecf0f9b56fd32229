"""Saves the changes of a handle to its dataset, as a new version."""

from slaf.data.saving.save import save, save_one

__all__ = ["save", "save_one"]
