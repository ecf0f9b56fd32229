"""Measures random batches, in cells per second and memory: ours, slafdb, annbatch,
scDataset and AnnLoader.

    python tests/bench/loader.py DATA.h5ad --slafdb SLAFDB_PYTHON --torch TORCH_PYTHON \
        --annbatch ANNBATCH_PYTHON

Run it with a Python that has this package. SLAFDB_PYTHON has slafdb, torch and psutil;
TORCH_PYTHON has torch, anndata and scdataset; ANNBATCH_PYTHON has annbatch and zarrs
(Python 3.12). Tools without a Python are left out. DATA.h5ad is made if it does not
exist (`--cells`, with about 1,460 values each, as in Tahoe-100M), and so is each tool's
own format: slafdb's and ours by their converters, annbatch's shuffled collection by
annbatch. Do not use the machine meanwhile.

Each tool runs alone in its own process, for `--seconds` from its second batch on (ours
and slafdb over several epochs, the others for at most one); the best of `--repeat`
turns counts. Peaks are resident memory, including interpreter and libraries; "growth"
is the memory at the end minus that after the first second."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

WORK = r"""
import json, os, resource, sys, time
contender, path, seconds, result = sys.argv[1:5]
seconds = float(seconds)

def held():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024

def batches():
    kind, _, form = contender.partition(" ")
    if kind == "ours":
        from slaf.ml import SLAFDataLoader
        more = {"raw": {"raw_mode": True}, "csr": {"raw_mode": True, "raw_format": "csr"},
                "scgpt": {"tokenizer_type": "scgpt"}, "geneformer": {}}[form]
        return SLAFDataLoader(path, batch_size=64, verbose=False, n_epochs=1000, **more)
    if kind == "slafdb":
        from loguru import logger
        logger.remove()
        from slaf import SLAFArray
        from slaf.ml.dataloaders import SLAFDataLoader
        more = {"raw_mode": True} if form == "raw" else {"tokenizer_type": form}
        return SLAFDataLoader(SLAFArray(path), batch_size=64, verbose=False, n_epochs=1000, **more)
    if kind == "annbatch":
        import zarr
        import zarrs
        from annbatch import DatasetCollection, Loader
        zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
        loader = Loader(batch_size=64, chunk_size=256, preload_nchunks=32, shuffle=True)
        return loader.use_collection(DatasetCollection(path, mode="r"))
    import anndata
    data = anndata.read_h5ad(path, backed="r")
    if kind == "scdataset":
        from scdataset import BlockShuffling, scDataset
        from torch.utils.data import DataLoader
        data = scDataset(data, BlockShuffling(block_size=16), batch_size=64, fetch_factor=64,
                         fetch_callback=lambda d, i: d.X[i])
        return DataLoader(data, batch_size=None)
    from anndata.experimental import AnnLoader
    return AnnLoader(data, batch_size=64, shuffle=True)

def size(batch):
    if isinstance(batch, dict):
        if "cell_ids" in batch:
            return len(batch["cell_ids"])
        batch = batch["X"]
    return (batch.X if hasattr(batch, "X") else batch).shape[0]

opened = time.perf_counter()
it = iter(batches())
size(next(it))
first = time.perf_counter() - opened
begun, cells, early = time.perf_counter(), 0, None
for batch in it:
    cells += size(batch)
    past = time.perf_counter() - begun
    if early is None and past > 1:
        early = held()
    if past > seconds:
        break
past = time.perf_counter() - begun
growth = held() - (early or held())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
with open(result, "w") as file:
    json.dump({"rate": cells / past, "first": first, "peak": peak, "growth": growth}, file)
os._exit(0)
"""

MAKE_ANNBATCH = r"""
import sys
from annbatch import DatasetCollection
DatasetCollection(sys.argv[2]).add_adatas([sys.argv[1]], shuffle=True)
"""


def main() -> None:
    options = arguments()
    if not options.h5ad.exists():
        make(options.h5ad, options.cells)
    stem = options.h5ad.with_suffix("")
    contenders = {f"ours {form}": (sys.executable, f"{stem}.slaf") for form in ("raw", "csr")}
    contenders |= {
        f"ours {form}": (sys.executable, f"{stem}.slaf") for form in ("geneformer", "scgpt")
    }
    run([sys.executable, "-m", "slaf.cli", "convert", options.h5ad, f"{stem}.slaf"], f"{stem}.slaf")
    if options.slafdb:
        theirs = f"{stem}.slafdb"
        convert = "import sys; from slaf.data import SLAFConverter as C; C().convert(*sys.argv[1:])"
        run([options.slafdb, "-c", convert, options.h5ad, theirs], theirs)
        for form in ("raw", "geneformer", "scgpt"):
            contenders[f"slafdb {form}"] = options.slafdb, theirs
    if options.annbatch:
        run([options.annbatch, "-c", MAKE_ANNBATCH, options.h5ad, f"{stem}.zarr"], f"{stem}.zarr")
        contenders["annbatch"] = options.annbatch, f"{stem}.zarr"
    if options.torch:
        for name in ("scdataset", "annloader"):
            contenders[name] = options.torch, options.h5ad
    best: dict[str, dict[str, float]] = {}
    for _ in range(options.repeat):
        for name, (python, path) in contenders.items():
            found = measured(name, python, path, options.seconds)
            if found and found["rate"] > best.get(name, {"rate": 0})["rate"]:
                best[name] = found
    for name, found in best.items():
        print(
            f"{name:18} {found['rate']:10,.0f} cells/s   first batch {found['first']:6.2f} s   "
            f"peak {found['peak'] / 1e6:7,.0f} MB   growth {found['growth'] / 1e6:6,.0f} MB"
        )


def run(command: list, target: str) -> None:
    if not Path(target).exists():
        subprocess.run([str(part) for part in command], check=True, env=clean())


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def measured(name: str, python: str, path: str | Path, seconds: float) -> dict | None:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [str(python), "-c", WORK, name, str(path), str(seconds), str(result)]
        done = subprocess.run(command, env=clean(), capture_output=True, text=True)
        if not result.exists():
            print(f"{name}: {done.stderr.strip()[-600:]}", file=sys.stderr)
            return None
        return json.loads(result.read_text())


def make(path: Path, cells: int, genes: int = 25_000) -> None:
    """Counts like those of sequencing: the genes follow a power law, and the depth is
    log-normal."""
    import anndata as ad
    import numpy as np
    import pandas as pd
    from scipy import sparse

    random = np.random.default_rng(0)
    share = 1 / np.arange(1, genes + 1) ** 0.7
    cumulated = np.cumsum(share / share.sum())
    blocks = []
    for start in range(0, cells, 5000):
        n = min(5000, cells - start)
        depth = np.clip(random.lognormal(np.log(1640), 0.4, n).astype(int), 200, 12000)
        gene = np.minimum(np.searchsorted(cumulated, random.random(depth.sum())), genes - 1)
        cell = np.repeat(np.arange(n), depth)
        one = np.ones(len(gene), np.float32)
        block = sparse.coo_matrix((one, (cell, gene)), shape=(n, genes)).tocsr()
        block.sum_duplicates()
        blocks.append(block)
    x = sparse.vstack(blocks, format="csr")
    obs = pd.DataFrame(
        {"plate": np.arange(cells) * 14 // cells}, index=np.arange(cells).astype(str)
    )
    var = pd.DataFrame(index=[f"ENSG{i:011d}" for i in range(genes)])
    print(f"{path}: {cells:,} cells, {x.nnz / cells:,.0f} values each")
    ad.AnnData(x, obs=obs, var=var).write_h5ad(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("h5ad", type=lambda text: Path(text).resolve())
    parser.add_argument("--cells", type=int, default=500_000)
    parser.add_argument("--slafdb", default=os.environ.get("SLAFDB_PYTHON"))
    parser.add_argument("--torch")
    parser.add_argument("--annbatch")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeat", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
