"""scanpy's preprocessing on lazy handles, under scanpy's names. Functions that change the
matrix are lazy; statistics are streamed.

`slaf.integrations.scanpy` (and `slaf.scanpy`) is its public module."""
