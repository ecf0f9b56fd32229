"""What everything stands on: positions on an axis, dtypes, metadata to and from Arrow,
progress, and hints in errors."""
