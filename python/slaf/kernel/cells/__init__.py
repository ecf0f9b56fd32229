"""What a cell runs in: IPython's shell, and what happens to a running cell."""
