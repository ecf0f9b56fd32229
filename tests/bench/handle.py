"""Measures a gene, a cell, a block, a filter and a whole preprocessing from a handle,
compared with slafdb, anndata (backed and in memory) and TileDB-SOMA.

    python tests/bench/handle.py DATA.h5ad DATA.slaf --slafdb SLAFDB_PYTHON --soma DATA.soma

Run it with a Python that has this package and scanpy. DATA.slaf and DATA.soma are made
from DATA.h5ad if they do not exist. Do not use the machine meanwhile.

Each tool runs each task in its own process, taking turns. "cold" is the first call
after opening, with the files dropped from the page cache if the system allows it.
"warm" is the median of later calls, each for another gene, cell or block. Opening is
not measured, except in "open", in the first "filter" (slafdb reads its metadata when it
opens) and in "preprocess". The latter goes from the path to highly variable genes: QC,
filters of cells and genes, normalisation, logarithm, HVG; scanpy reads the file into
memory for it. Peaks are resident memory, including the interpreter and libraries
("idle" is their share)."""

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
contender, task, path, result = sys.argv[1:5]
import numpy as np
out = {}

def opened():
    if contender in ("ours", "slafdb"):
        from slaf.integrations.anndata import read_slaf
        return read_slaf(path)
    if contender == "soma":
        import tiledbsoma
        return tiledbsoma.Experiment.open(path)
    import anndata
    return anndata.read_h5ad(path, backed="r" if contender == "backed" else None)

def block(data, cells, genes):
    if contender == "ours":
        return data[cells, genes].X.compute()
    if contender == "slafdb":
        # Its handle forgets that a number selects one; get_gene_expression
        # fails on 16-bit gene numbers.
        one = lambda key: slice(key, key + 1) if isinstance(key, int) else key
        if isinstance(cells, int):
            return data.slaf.get_cell_expression(names[cells])
        return data[one(cells), one(genes)].X.compute()
    if contender == "soma":
        import tiledbsoma
        with data.axis_query("RNA", obs_query=tiledbsoma.AxisQuery(coords=(cells,)),
                             var_query=tiledbsoma.AxisQuery(coords=(genes,))) as query:
            return query.X("data").tables().concat()
    part = data[cells, genes]
    return part.to_memory().X if contender == "backed" else part.X.copy()

def span(first, n):
    # TileDB's slices include their end.
    return slice(first, first + n - (1 if contender == "soma" else 0))

def whole():
    return slice(None)

def cells_where(data, least):
    if contender == "soma":
        return len(data.obs.read(value_filter=f"total_counts > {least}").concat())
    if contender == "slafdb":
        return len(data.slaf.filter_cells(total_counts=f"> {least}"))
    obs = data.obs
    return int((obs["total_counts"] > least).sum())

def preprocess():
    if contender == "ours":
        from slaf.scanpy import pp
        data = opened()
        pp.calculate_qc_metrics(data)
        pp.filter_cells(data, min_genes=200)
        pp.filter_genes(data, min_cells=3)
        pp.normalize_total(data, target_sum=1e4)
        pp.log1p(data)
        pp.highly_variable_genes(data, n_top_genes=2000)
        return int(data.var["highly_variable"].sum())
    import scanpy as sc, anndata
    data = anndata.read_h5ad(path)
    sc.pp.calculate_qc_metrics(data, percent_top=None, inplace=True)
    sc.pp.filter_cells(data, min_genes=200)
    sc.pp.filter_genes(data, min_cells=3)
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)
    sc.pp.highly_variable_genes(data, n_top_genes=2000)
    return int(data.var["highly_variable"].sum())

def forget():
    root = [path] if os.path.isfile(path) else [
        os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    for name in root:
        with open(name, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

if contender == "slafdb":
    from loguru import logger
    logger.remove()
if contender in ("ours", "slafdb"):
    import slaf.integrations.anndata
    if contender == "ours":
        import slaf.scanpy
if contender in ("memory", "backed"):
    import anndata, scanpy
if contender == "soma":
    import tiledbsoma
rng = np.random.default_rng(0)
before = rss()
if task == "idle":
    pass
elif task == "open":
    forget()
    held = []
    out["cold"] = timed(lambda: held.append(opened()))
    out["bytes"] = rss() - before
    # slafdb's threads go on loading: opened once more, it aborts.
    if contender != "slafdb":
        out["warm"] = float(np.median([timed(opened) for _ in range(5)]))
elif task == "preprocess":
    forget()
    out["cold"] = timed(preprocess)
else:
    def ready():
        handle = opened()
        if contender == "slafdb":
            handle.slaf.wait_for_metadata()
        return handle
    data = None if task == "filter" else ready()
    if contender == "slafdb" and data is not None:
        names = data.slaf.obs["cell_id"].to_list()
    n_cells, n_genes = (int(v) for v in sys.argv[5:7])
    calls = {
        "gene": lambda: block(data, whole(), int(rng.integers(n_genes))),
        "cell": lambda: block(data, int(rng.integers(n_cells)), whole()),
        "block": lambda: block(data, span(int(rng.integers(n_cells - 500)), 500),
                               span(int(rng.integers(n_genes - 500)), 500)),
        "filter": lambda: cells_where(data, int(rng.integers(1000, 9000))),
    }
    def first():
        global data
        data = data or ready()
        calls[task]()
    forget()
    out["cold"] = timed(first)
    repeats = 3 if out["cold"] > 2 else 9
    out["warm"] = float(np.median([timed(calls[task]) for _ in range(repeats)]))
out["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
with open(result, "w") as file:
    json.dump(out, file)
"""

TASKS = ("idle", "open", "gene", "cell", "block", "filter", "preprocess")


def main() -> None:
    args = arguments()
    contenders = {"ours": (sys.executable, args.slaf), "memory": (sys.executable, args.h5ad)}
    contenders["backed"] = (sys.executable, args.h5ad)
    if args.slafdb:
        contenders["slafdb"] = (args.slafdb, args.slaf)
    if args.soma:
        contenders["soma"] = (args.soma_python, args.soma)
    shape = prepare(args)
    runs: dict[str, dict[str, list[dict]]] = {}
    for _ in range(args.repeat):
        for task in args.tasks or TASKS:
            for name, (python, path) in contenders.items():
                if name in args.without or skipped(name, task):
                    continue
                found = run(python, name, task, path, shape)
                runs.setdefault(task, {}).setdefault(name, []).append(found)
    report(runs, args.json)


def skipped(name: str, task: str) -> bool:
    """Whether a contender does not run this task. Slicing an AnnData in memory takes
    only the time of reading it, and only we and scanpy preprocess."""
    if task == "preprocess":
        return name not in ("ours", "memory")
    return name == "memory" and task not in ("open", "idle")


def prepare(args: argparse.Namespace) -> tuple[int, int]:
    if not args.slaf.exists():
        code = "import sys; from slaf.data import SLAFConverter as C; C().convert(*sys.argv[1:])"
        subprocess.run([sys.executable, "-c", code, str(args.h5ad), str(args.slaf)], check=True)
    if args.soma and not args.soma.exists():
        code = (
            "import sys, tiledbsoma.io as io; "
            "io.from_h5ad(sys.argv[2], sys.argv[1], measurement_name='RNA')"
        )
        subprocess.run([args.soma_python, "-c", code, str(args.h5ad), str(args.soma)], check=True)
    config = json.loads((args.slaf / "config.json").read_text())
    return tuple(config["array_shape"])


def run(python: str, name: str, task: str, path: Path, shape: tuple[int, int]) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [str(python), "-W", "ignore", "-c", WORK, name, task, str(path), str(result)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [*command, *map(str, shape)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        # slafdb aborts when it ends while its threads are loading.
        if done.returncode and not result.exists():
            raise SystemExit(f"{name}, {task}: {done.stderr.strip()[-2000:]}")
        return json.loads(result.read_text())


def report(runs: dict[str, dict[str, list[dict]]], path: Path | None) -> None:
    best = {
        task: {
            name: {key: min(found[key] for found in all_) for key in all_[0]}
            for name, all_ in of_task.items()
        }
        for task, of_task in runs.items()
    }
    for task, of_task in best.items():
        print(task)
        ours = of_task.get("ours", {})
        for name, found in of_task.items():
            line = f"  {name:8}"
            for key in ("cold", "warm"):
                if key in found:
                    ratio = found[key] / ours[key] if ours.get(key) else float("nan")
                    line += f"  {key} {found[key] * 1e3:10.1f} ms ({ratio:6.1f} x ours)"
            line += f"  peak {found['peak'] / 1e6:7.0f} MB"
            if "bytes" in found:
                line += f"  held {found['bytes'] / 1e6:6.1f} MB"
            print(line, flush=True)
    if path:
        path.write_text(json.dumps(best, indent=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    absolute = lambda text: Path(text).resolve()  # noqa: E731
    parser.add_argument("h5ad", type=absolute)
    parser.add_argument("slaf", type=absolute)
    parser.add_argument("--slafdb", default=os.environ.get("SLAFDB_PYTHON"))
    parser.add_argument("--soma", type=absolute)
    parser.add_argument("--soma-python", default=sys.executable, help="one that has tiledbsoma")
    parser.add_argument("--tasks", nargs="*", choices=TASKS)
    parser.add_argument("--without", nargs="*", default=[], help="contenders to leave out")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
