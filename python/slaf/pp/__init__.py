"""scanpy's preprocessing on lazy handles: lazy where the result is the matrix,
streamed where it is a statistic, and named as scanpy names it.

`slaf.integrations.scanpy` (and `slaf.scanpy`) is the public face."""
