"""What was changed in a handle, into its dataset, as a new version of it."""

from slaf.data.saving.save import save, save_one

__all__ = ["save", "save_one"]
