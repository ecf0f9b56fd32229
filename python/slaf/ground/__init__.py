"""What all other floors use: positions on an axis, dtypes, metadata to and from Arrow,
progress, and hints in errors."""
