"""Runs each call of the guard once to warm up, then once more for callgrind to count.

    valgrind --tool=callgrind --callgrind-out-file=OUT counted_calls.py REQUESTS.so DATA.h5ad FOLDER

callgrind writes OUT.1, OUT.2, …, each with the name of a call and its instructions."""

import ctypes
import itertools
import sys
from collections.abc import Callable

from slaf import SLAFArray, read_slaf
from slaf.data import SLAFConverter
from slaf.ml import SLAFDataLoader

requests, source, folder = ctypes.CDLL(sys.argv[1]), *sys.argv[2:]
JOIN = "FROM expression e JOIN cells c ON e.cell_integer_id = c.cell_integer_id"

number = itertools.count()


def convert() -> None:
    SLAFConverter().convert(source, f"{folder}/{next(number)}.slaf")


def query(sql: str) -> Callable[[], object]:
    return lambda: array.query(sql)


def epoch(**options) -> Callable[[], None]:
    def batches() -> None:
        for _ in SLAFDataLoader(array, batch_size=256, verbose=False, tensors=False, **options):
            pass

    return batches


convert()
array, handle = SLAFArray(f"{folder}/0.slaf"), read_slaf(f"{folder}/0.slaf")
CALLS = {
    "convert": convert,
    "query of metadata": query("SELECT cell_type, AVG(total_counts) FROM cells GROUP BY 1"),
    "query of a gene": query(
        f"SELECT cell_type, AVG(e.value) {JOIN} WHERE e.gene_integer_id = 700 GROUP BY 1"
    ),
    "query of stored sums": query(
        "SELECT gene_integer_id, SUM(value) FROM expression GROUP BY 1 ORDER BY 2 DESC LIMIT 5"
    ),
    "query of all values": query(
        f"SELECT cell_type, e.gene_integer_id, AVG(e.value) {JOIN} GROUP BY 1, 2"
    ),
    "query of an expression": query(
        f"SELECT cell_type, AVG(LN(1 + e.value / c.total_counts)) {JOIN} GROUP BY 1"
    ),
    "slice of cells": lambda: handle[100:2000].X.compute(),
    "slice of genes": lambda: handle[:, 700:720].X.compute(),
    "epoch of values": epoch(raw_mode=True, raw_format="csr"),
    "epoch of tokens": epoch(max_genes=512),
}
for name, call in CALLS.items():
    call()
    requests.begin()
    call()
    requests.end(name.encode())
