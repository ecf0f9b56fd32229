"""Measures an exact nearest-neighbour search for one vector among a million of 50 numbers,
compared with reading that memory once, faiss and hnswlib.

    python tests/bench/search.py [--rows 1000000]

Run it with a Python that has this package, and faiss-cpu and hnswlib to include them.
Do not use the machine meanwhile."""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from slaf import _slaf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=50)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    vectors = random.normal(size=(options.rows, options.width)).astype(np.float32)
    queries = random.normal(size=(20, options.width)).astype(np.float32)
    floor = timed("memory, one thread", lambda q: _floor(vectors), queries)
    for metric in ("l2", "cosine", "dot"):
        ask = lambda q, metric=metric: _slaf.nearest_of(vectors, q, 10, metric)[0]  # noqa: E731
        took = timed(f"ours, {metric}", ask, queries)
        print(f"{'':24}{took / floor:6.2f} x that read")
    exact = np.concatenate([_slaf.nearest_of(vectors, q[None], 10, "l2")[0] for q in queries])
    try:
        import faiss

        index = faiss.IndexFlatL2(options.width)
        index.add(vectors)
        timed("faiss, flat", lambda q: index.search(q, 10), queries)
        found = index.search(queries, 10)[1]
        print(f"{'':24}{np.mean(found == exact):.3f} of its answers are ours")
    except ImportError:
        print("faiss is not there")
    try:
        import hnswlib

        graph = hnswlib.Index(space="l2", dim=options.width)
        graph.init_index(max_elements=options.rows, ef_construction=100, M=16)
        begun = time.perf_counter()
        graph.add_items(vectors)
        print(f"hnswlib, built in {time.perf_counter() - begun:.0f} s")
        graph.set_ef(100)
        timed("hnswlib, ef=100", lambda q: graph.knn_query(q, 10), queries)
        found = graph.knn_query(queries, 10)[0]
        hits = [len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)]
        print(f"{'':24}finds {np.mean(hits):.3f}")
    except ImportError:
        print("hnswlib is not there")


def _floor(vectors: np.ndarray) -> int:
    """Reads all vectors once: numpy finds their maximum with SIMD."""
    return int(vectors.view(np.uint32).max())


def timed(name: str, ask, queries: np.ndarray) -> float:
    """Median milliseconds of one query."""
    ask(queries[:1])
    took = []
    for query in queries:
        begun = time.perf_counter()
        ask(query[None])
        took.append((time.perf_counter() - begun) * 1e3)
    median = statistics.median(took)
    print(f"{name:24}{median:8.2f} ms")
    return median


if __name__ == "__main__":
    main()
