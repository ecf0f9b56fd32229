"""Measures an interactive table of 10 million rows: the time from a change of its state to
the page, and to the last column header. `python tests/bench/table.py cells.slaf [rows]`
makes the dataset if it does not exist."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from slaf import read_slaf, table
from slaf.data import SLAFConverter

TIMES = 10


def make(path: Path, n: int) -> None:
    """`n` cells with six columns, and one stored value each."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(rng.choice(["T", "B", "NK", "monocyte", "DC"], n)),
            "batch": pd.Categorical(rng.choice([f"b{i}" for i in range(40)], n)),
            "total_counts": rng.gamma(2, 1000, n).astype(np.float32),
            "pct_mito": rng.random(n),
            "n_genes": rng.integers(200, 6000, n, dtype=np.int32),
            "doublet": rng.random(n) < 0.05,
        },
        index=pd.Index([f"cell-{i}" for i in range(n)]),
    )
    parts = np.ones(n, np.float32), rng.integers(0, 20, n), np.arange(n + 1)
    counts = ad.AnnData(sparse.csr_matrix(parts, shape=(n, 20)), obs=obs)
    with tempfile.TemporaryDirectory() as folder:
        counts.write_h5ad(f"{folder}/cells.h5ad")
        SLAFConverter().convert(f"{folder}/cells.h5ad", path)


class Watched:
    """A table, and the time at which each message was sent."""

    def __init__(self, data):
        self.table = table(data)
        self.at: dict[str, float] = {}
        self.page: dict = {}
        self.table.comm.send = self._sent
        self.says({"type": "hello"})

    def _sent(self, data, *_, **__):
        content = data["content"]
        self.at[content["type"]] = time.perf_counter()
        if content["type"] == "page":
            self.page = content
        if content["type"] == "error":
            raise SystemExit(content["message"])

    def says(self, content: dict) -> tuple[float, float]:
        """Milliseconds to the page, and to the last message."""
        self.at.clear()
        begun = time.perf_counter()
        data = {"method": "custom", "content": {"view": "", "ask": 0, **content}}
        self.table.comm.handle_msg({"content": {"data": data}, "buffers": []})
        self.table.idle()
        return (self.at["page"] - begun) * 1e3, (max(self.at.values()) - begun) * 1e3

    def asks(self, **change) -> tuple[float, float]:
        state = {**self.page["state"], "filters": {}, "order": [], "page": 0, **change}
        return self.says({"type": "state", "state": state})


def main(path: Path, n: int) -> None:
    if not path.exists():
        make(path, n)
    watched = Watched(read_slaf(path).obs)
    low = iter(range(1, 10**6))
    typed = lambda text: {"n_genes": {"typed": text}}  # noqa: E731
    changes = {
        "page, of all rows": lambda: {"page": n // 100 + next(low)},
        "sort by a number": lambda: {"order": [["total_counts", bool(next(low) % 2)]]},
        "sort by a text": lambda: {"order": [["cell_type", bool(next(low) % 2)]]},
        "sort by two": lambda: {"order": [["batch", False], ["pct_mito", bool(next(low) % 2)]]},
        "the next page of a sort": lambda: {
            "order": [["pct_mito", True]],
            "page": 1 + next(low) % 9,
        },
        "the last page of a sort": lambda: {
            "order": [["pct_mito", bool(next(low) % 2)]],
            "page": n // 50,
        },
        "filter by a number": lambda: {"filters": typed(f"> {3000 + next(low)}")},
        "filter and sort": lambda: {
            "filters": typed(f"> {3000 + next(low)}"),
            "order": [["pct_mito", True]],
        },
        "filter by a part of a text": lambda: {"filters": {"cell_id": {"text": f"{next(low)}7"}}},
    }
    print(
        f"{n:,} rows, load {os.getloadavg()[0]:.1f}; ms to the page, and to the last head: p50 (least)"
    )
    for what, change in changes.items():
        pages, whole = zip(*(watched.asks(**change()) for _ in range(TIMES)), strict=True)
        shown = (f"{statistics.median(ms):6.0f} ({min(ms):.0f})" for ms in (pages, whole))
        print(f"{what:28}", *shown, flush=True)
    begun = time.perf_counter()
    watched.asks(order=[["pct_mito", True]], page=n // 100)
    print(f"{'a page in the middle, first':28} {(time.perf_counter() - begun) * 1e3:6.0f}")
    pages, _ = zip(
        *(watched.asks(order=[["pct_mito", True]], page=n // 100 + i) for i in range(TIMES)),
        strict=True,
    )
    print(f"{'another beside it':28} {statistics.median(pages):6.0f} ({min(pages):.0f})")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(float(sys.argv[2])) if len(sys.argv) > 2 else 10_000_000)
