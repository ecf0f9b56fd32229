"""Measures the conversion of an h5ad file to a SLAF dataset, by us and by slafdb.

    python tests/bench/convert.py --slafdb SLAFDB_PYTHON      50,000 x 25,000
    python tests/bench/convert.py --slafdb SLAFDB_PYTHON --gzip
    python tests/bench/convert.py --scale 50000,200000,800000

Run it with a Python that has this package. SLAFDB_PYTHON is a Python that has slafdb
(also read from the environment variable of this name); without it, only our side runs.
Do not use the machine meanwhile.

Both sides convert the same synthetic file (`slaf.datasets.write_synthetic`, kept under
--cache) as a user would, with `SLAFConverter().convert(file, dataset)`, each in its own
process, taking turns. The work is not equal: we write the expression sorted by cell and
by gene, sums, and obsm; slafdb 0.5.2 writes it sorted by cell, and no obsm from a file.
--one-order adds our conversion without the copy sorted by gene.

The report has the best of --repeat: seconds of `convert` alone and of the whole
process, peak resident memory of the process, and bytes of the base tables (in slafdb's
format) and of the companion tables (only ours). anndata is imported before the clock of
`convert` starts, because slafdb does so and we would import it during `convert`. The
file is read once beforehand, and the disk is synced before every run. --scale runs only
our side, for several numbers of cells: memory must not grow with them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Nothing heavy is imported here: a child's peak memory, as the kernel counts
# it, starts at that of the process that spawned it.

MAKE = """
import sys
from slaf.datasets import write_synthetic
path, cells, genes, seed, compression = sys.argv[1:]
write_synthetic(path, int(cells), int(genes), seed=int(seed), compression=compression or None)
"""

CONVERT = """
import json, sys, time
from importlib.metadata import packages_distributions, version
import anndata
from slaf.data import SLAFConverter
source, target, arguments, result = sys.argv[1:]
start = time.perf_counter()
SLAFConverter().convert(source, target, **json.loads(arguments))
seconds = time.perf_counter() - start
names = packages_distributions().get("slaf", ["slaf"])
try:
    tool = f"{names[0]} {version(names[0])}"
except Exception:
    import slaf
    tool = f"slaf {slaf.__version__}"
with open(result, "w") as file:
    json.dump({"convert_s": seconds, "tool": tool}, file)
"""

BASE = {
    *("config.json", "cells.lance", "genes.lance", "expression.lance", "layers.lance"),
    *("cellsxcells.lance", "genesxgenes.lance"),
}


def main() -> None:
    args = arguments()
    args.cache.mkdir(parents=True, exist_ok=True)
    sizes = args.scale or [args.cells]
    contenders = {"ours": (sys.executable, {"overwrite": True})}
    if args.one_order:
        contenders["ours, one order"] = (sys.executable, {"overwrite": True, "gene_index": False})
    if args.slafdb and not args.scale:
        contenders["slafdb"] = (args.slafdb, {})
    report = {"cpus": os.cpu_count(), "genes": args.genes, "gzip": args.gzip, "seed": args.seed}
    report["sizes"] = []
    for cells in sizes:
        file = made(args, cells)
        best, runs = compare(file, contenders, args)
        report["sizes"].append(
            {"cells": cells, "h5ad_bytes": file.stat().st_size, "best": best, "runs": runs}
        )
        if not args.scale:
            show(best, file)
    if args.scale:
        show_scale(report["sizes"])
    line = json.dumps(report)
    print(line)
    if args.json:
        args.json.write_text(line + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--genes", type=int, default=25_000)
    parser.add_argument("--gzip", action="store_true", help="of a file compressed with gzip")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each tool (3)")
    parser.add_argument(
        "--slafdb", metavar="PYTHON", default=os.environ.get("SLAFDB_PYTHON"), help="has slafdb"
    )
    parser.add_argument("--one-order", action="store_true", help="also ours without gene order")
    parser.add_argument(
        "--scale", type=lambda text: [int(n) for n in text.split(",")], metavar="CELLS,CELLS…"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "slaf-jupyter" / "bench"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the report, also to a file")
    args = parser.parse_args()
    args.cache = args.cache.expanduser().resolve()
    return args


def made(args: argparse.Namespace, cells: int) -> Path:
    """The synthetic file, made at first use."""
    suffix = "-gzip" if args.gzip else ""
    path = args.cache / f"synthetic-{cells}x{args.genes}-seed{args.seed}{suffix}.h5ad"
    if not path.exists():
        print(f"making {path}", file=sys.stderr)
        compression = "gzip" if args.gzip else ""
        command = [sys.executable, "-c", MAKE, path, cells, args.genes, args.seed, compression]
        subprocess.run([str(part) for part in command], check=True)
    return path


def compare(file: Path, contenders: dict, args: argparse.Namespace) -> tuple[dict, dict]:
    """For each contender, the minimum of every measure, and all runs."""
    read_through(file)
    runs: dict[str, list[dict]] = {name: [] for name in contenders}
    for turn in range(args.repeat):
        for name, (python, options) in contenders.items():
            run = measure(python, file, options, args.cache)
            runs[name].append(run)
            print(
                f"{file.name} run {turn + 1}, {name}: {run['convert_s']:.2f} s, "
                f"{run['peak_rss'] / 2**20:,.0f} MiB",
                file=sys.stderr,
            )
    best = {}
    for name, done in runs.items():
        best[name] = {
            key: min(run[key] for run in done) if key != "tool" else done[0][key] for key in done[0]
        }
    return best, runs


def measure(python: str, file: Path, options: dict, cache: Path) -> dict:
    """One conversion in a fresh process."""
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        target, result = Path(scratch) / "out.slaf", Path(scratch) / "result.json"
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        if python == sys.executable:
            environment = dict(os.environ)
        command = [python, "-c", CONVERT, file, target, json.dumps(options), result]
        os.sync()
        with tempfile.TemporaryFile() as errors:
            start = time.perf_counter()
            child = subprocess.Popen(
                [str(part) for part in command],
                cwd=scratch,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.perf_counter() - start
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode or not result.exists():
                errors.seek(0)
                text = errors.read().decode(errors="replace")
                sys.exit(f"{python} ended with {child.returncode}:\n{text[-3000:]}")
        parts = sizes_of(target)
        base = sum(size for name, size in parts.items() if name in BASE)
        run = json.loads(result.read_text())
        run |= {
            "process_s": wall,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_rss": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            "base_bytes": base,
            "companion_bytes": sum(parts.values()) - base,
        }
        shutil.rmtree(target)
        return run


def sizes_of(dataset: Path) -> dict[str, int]:
    """Bytes of each entry of a dataset's folder."""
    return {
        entry.name: entry.stat().st_size
        if entry.is_file()
        else sum(path.stat().st_size for path in entry.rglob("*") if path.is_file())
        for entry in dataset.iterdir()
    }


def read_through(file: Path) -> None:
    with file.open("rb", buffering=0) as stream:
        while stream.read(1 << 20):
            pass


ROWS = [
    ("convert, s", "convert_s", 1, ".2f"),
    ("process, s", "process_s", 1, ".2f"),
    ("CPU, s", "cpu_s", 1, ".2f"),
    ("peak RSS, MiB", "peak_rss", 2**20, ",.0f"),
    ("base tables, MiB", "base_bytes", 2**20, ",.1f"),
    ("companions, MiB", "companion_bytes", 2**20, ",.1f"),
]


def show(best: dict, file: Path) -> None:
    """One line per measure, one column per contender, and slafdb's number divided by
    ours at the end."""
    print(f"\n{file.name}, {file.stat().st_size / 2**20:,.1f} MiB; best of each")
    for name, run in best.items():
        print(f"{name}: {run['tool']}")
    names = list(best)
    ratio = "slafdb" in best
    head = f"{'':18}" + "".join(f"{name:>17}" for name in names)
    print(head + (f"{'slafdb / ours':>17}" if ratio else ""))
    for title, key, unit, form in ROWS:
        line = f"{title:18}" + "".join(f"{best[name][key] / unit:>17{form}}" for name in names)
        if ratio and best["ours"][key] and best["slafdb"][key]:
            line += f"{best['slafdb'][key] / best['ours'][key]:>16.2f}x"
        print(line)


def show_scale(sizes: list[dict]) -> None:
    print(f"\n{'cells':>12}{'h5ad, MiB':>12}{'convert, s':>12}{'peak RSS, MiB':>15}")
    for size in sizes:
        run = size["best"]["ours"]
        print(
            f"{size['cells']:>12,}{size['h5ad_bytes'] / 2**20:>12,.0f}"
            f"{run['convert_s']:>12.2f}{run['peak_rss'] / 2**20:>15,.0f}"
        )


if __name__ == "__main__":
    main()
