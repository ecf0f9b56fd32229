"""Compares functions on two workers with the same functions in one process, in one run:

    python tests/bench/workers.py ATLAS.slaf --cells 500000

makes the dataset and ATLAS.h5ad if there is none, and prints for each function

* the number of tasks, the processor time of one, and its bytes sent and received,
* the time of the driver for a task: to pack it, to unpack its answer, and to merge it,
* the time with workers divided by that without: the fastest of `--times`, in turns,
* an estimate for 64 workers, from these figures alone.

Workers are processes on this machine (`--engine dask` or `ray`: those engines), started
before anything is measured. Do not use the machine meanwhile."""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from slaf import read_slaf
from slaf.data import SLAFConverter
from slaf.data.synthetic import write_synthetic
from slaf.data.upkeep import index, validate
from slaf.dataset import Dataset
from slaf.distributed import Executor, executor, task_bytes
from slaf.ground.workers import working
from slaf.scanpy import pp, tl

#: Workers of the estimate.
MANY = 64
SQL = (
    "SELECT c.cell_type, e.gene_integer_id, SUM(e.value) AS s, STDDEV(e.value) AS d "
    "FROM expression e JOIN cells c ON e.cell_integer_id = c.cell_integer_id "
    "GROUP BY c.cell_type, e.gene_integer_id"
)


def source_of(path: Path) -> Path:
    """The h5ad file from which a dataset was made."""
    return path.with_suffix(".h5ad")


def make(path: Path, cells: int) -> None:
    # Without compression, workers are not used to read it.
    write_synthetic(source_of(path), cells, compression="gzip")
    SLAFConverter().convert(source_of(path), path)


def verbs(path: Path, source: Path) -> dict[str, Callable[[], Any]]:
    logs = read_slaf(path)
    pp.normalize_total(logs)
    pp.log1p(logs)
    pp.highly_variable_genes(logs, n_top_genes=2000)
    return {
        "calculate_qc_metrics": lambda: pp.calculate_qc_metrics(
            read_slaf(path), percent_top=(50,), inplace=False
        ),
        "highly_variable_genes": lambda: pp.highly_variable_genes(logs, inplace=False),
        "pca": lambda: pp.pca(logs),
        "rank_genes_groups, t-test": lambda: tl.rank_genes_groups(
            logs, "cell_type", method="t-test"
        ),
        "rank_genes_groups, wilcoxon": lambda: tl.rank_genes_groups(
            logs, "cell_type", method="wilcoxon"
        ),
        "SQL: sums of types and genes": lambda: read_slaf(path).slaf.query(SQL),
        "slaf convert": lambda: SLAFConverter().convert(
            source, path.with_name("again.slaf"), overwrite=True
        ),
        "slaf validate": lambda: validate(Dataset.open(str(path))),
        "slaf index": lambda: index(Dataset.open(str(path))),
    }


class Timed(Executor):
    """An executor that measures its tasks, and what the driver does between them."""

    def __init__(self, other: Executor):
        self.__dict__ = other.__dict__
        self.of_tasks: list[float] = []
        self.of_driver = 0.0

    def map(self, work, tasks) -> Iterator[Any]:
        for seconds, found in super().map(partial(timed, work), tasks):
            self.of_tasks.append(seconds)
            begun = time.perf_counter()
            yield found
            self.of_driver += time.perf_counter() - begun

    @contextmanager
    def packing(self) -> Iterator[None]:
        """Measures packing and unpacking, too."""

        module = sys.modules[Executor.__module__]

        def measured(work: Callable[..., Any], *arguments: Any) -> Any:
            begun = time.perf_counter()
            try:
                return work(*arguments)
            finally:
                self.of_driver += time.perf_counter() - begun

        with (
            patch.object(module, "packed", partial(measured, task_bytes.packed)),
            patch.object(module, "unpacked", partial(measured, task_bytes.unpacked)),
        ):
            yield


def timed(work: Callable[[Any], Any], task: Any) -> tuple[float, Any]:
    begun = time.process_time()
    found = work(task)
    return time.process_time() - begun, found


def seconds(verb: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    verb()
    return time.perf_counter() - begun


def report(name: str, verb: Callable[[], Any], workers: Executor, times: int) -> str:
    alone, together = [], []
    for _ in range(times):
        alone.append(seconds(verb))
        with working(workers):
            together.append(seconds(verb))
    before = vars(workers.tally).copy()
    watched = Timed(workers)
    with working(watched), watched.packing():
        verb()
    done = {key: count - before[key] for key, count in vars(workers.tally).items()}
    tasks = max(1, done["tasks"])
    each = statistics.fmean(watched.of_tasks) if watched.of_tasks else 0.0
    driver = watched.of_driver / tasks
    # Workers compute at the same time; the driver handles one answer after the other.
    many = max(each * -(-tasks // MANY), driver * tasks)
    return (
        f"| {name} | {done['tasks']} | {each:.2f} s | {done['bytes_sent'] / tasks / 1e3:.0f} kB "
        f"| {done['bytes_received'] / tasks / 1e6:.2f} MB | {driver * 1e3:.1f} ms "
        f"| {min(together) / min(alone):.2f} | {each * tasks:.1f} s → {many:.2f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--cells", type=int, default=500_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", default="processes", choices=["processes", "dask", "ray"])
    parser.add_argument("--only", metavar="TEXT", default="", help="verbs with this in their name")
    options = parser.parse_args()
    if not options.path.exists():
        make(options.path, options.cells)
    # `slaf index` makes a version each time.
    with tempfile.TemporaryDirectory(dir=options.path.resolve().parent) as folder:
        path = Path(folder) / "x.slaf"
        shutil.copytree(options.path, path)
        with executor(options.engine, n_workers=options.workers) as workers:
            with working(workers):
                read_slaf(path)[1:].X.sum(axis=0)
            head = ["verb", "tasks", "CPU time per task", "sent per task", "received per task"]
            head += ["driver per task", f"time with {options.workers} ÷ without"]
            print("|", " | ".join([*head, f"one core → {MANY} workers, estimated"]), "|")
            print("|---" * (len(head) + 1) + "|")
            with working(None):
                for name, verb in verbs(path, source_of(options.path)).items():
                    if options.only in name:
                        print(report(name, verb, workers, options.times), flush=True)


if __name__ == "__main__":
    main()
