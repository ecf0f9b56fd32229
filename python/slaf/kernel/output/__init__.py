"""stdout and stderr of cells, and which cell a write belongs to."""
