"""Measures a day's work on growing datasets: the time and the peak memory of each step.

    python tests/bench/growth.py FOLDER --cells 100000 1000000 10000000

Run it with a Python that has this package with its notebook extra, and do not use the
machine meanwhile. Each dataset is converted from five names of one synthetic h5ad file
of a fifth of the cells, 30,000 genes and about 180 stored values per cell (`--share`
times those of `slaf.datasets`), so that 10 million cells need 10 GB of disk.

Each step runs in its own process, from opening the dataset on; the steps from QC to
clusters share one. Peaks are resident memory, with interpreter and libraries. The
figures are kept in FOLDER/growth.json, printed as a table, and drawn in FOLDER/growth.png."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

GENES = 30_000
BEGIN = """
import resource, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
import scanpy
import slaf, slaf.ml, slaf.scanpy
from slaf.scanpy import pp, tl
path = sys.argv[1]
first = begun = time.perf_counter()
def done(step, since=None):
    global begun
    now, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print("step", step, now - (since or begun), peak, sep="\\t", flush=True)
    begun = time.perf_counter()
"""
END = """
done("", first)
"""
JOIN = "FROM expression e JOIN cells c ON e.cell_integer_id = c.cell_integer_id"
STEPS = {
    "open and show": "slaf.read_slaf(path)._repr_html_()",
    "filter cells, by type": """
slaf.SLAFArray(path).query(
    "SELECT cell_type, COUNT(*), AVG(n_genes) FROM cells WHERE pct_mt < 5 AND n_genes > 150 GROUP BY cell_type"
)""",
    "one gene, by type": f"""
slaf.SLAFArray(path).query(
    "SELECT c.cell_type, AVG(LN(1 + e.value / c.total_counts * 1e4)) {JOIN} JOIN genes g ON e.gene_integer_id = g.gene_integer_id WHERE g.gene_id = 'MT-CO1' GROUP BY c.cell_type"
)""",
    "all genes, by type": f"""
slaf.SLAFArray(path).query(
    "SELECT c.cell_type, e.gene_integer_id, AVG(e.value) {JOIN} GROUP BY c.cell_type, e.gene_integer_id"
)""",
    "10,000 random cells": """
data = slaf.read_slaf(path)
rows = np.sort(np.random.default_rng(0).choice(data.n_obs, 10_000, replace=False))
data[rows].X.compute()""",
    "QC to clusters": """
from sklearn.cluster import MiniBatchKMeans
data = slaf.read_slaf(path)
pp.calculate_qc_metrics(data); done("QC")
pp.filter_cells(data, min_genes=50); pp.filter_genes(data, min_cells=3); done("filter")
pp.normalize_total(data, target_sum=1e4); pp.log1p(data); done("normalise")
pp.highly_variable_genes(data, n_top_genes=2000); done("variable genes")
pp.pca(data); done("PCA")
scores = data.obsm["X_pca"]
means = MiniBatchKMeans(12, n_init=3, random_state=0).fit(scores[:: -(-len(scores) // 100_000)])
parts = (scores[at : at + 100_000] for at in range(0, len(scores), 100_000))
data.obs["cluster"] = np.concatenate([means.predict(part) for part in parts]); done("k-means")""",
    "markers, t-test": """
data = slaf.read_slaf(path)
pp.normalize_total(data, target_sum=1e4); pp.log1p(data)
tl.rank_genes_groups(data, "cell_type", method="t-test")""",
    "markers, Wilcoxon": """
data = slaf.read_slaf(path)
pp.normalize_total(data, target_sum=1e4); pp.log1p(data)
tl.rank_genes_groups(data, "cell_type", method="wilcoxon")""",
    "explorer's first picture": """
explorer = slaf.explore(slaf.read_slaf(path)); explorer.picture()""",
    "an epoch of tokens": """
loader = slaf.ml.SLAFDataLoader(path, batch_size=512, max_genes=256, verbose=False)
assert sum(len(batch["cell_ids"]) for batch in loader) == slaf.read_slaf(path).n_obs""",
}


#: Seconds, and the peak memory in GB.
Figures = tuple[float, float]


def command(*arguments: object) -> dict[str, Figures]:
    """Runs Python with these arguments. Returns the figures of the steps it prints; of the
    whole process as "", unless it prints that."""
    begun = time.perf_counter()
    work = subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    lines = [line.rstrip("\n").split("\t") for line in work.stdout or ()]
    _, status, usage = os.wait4(work.pid, 0)
    if status:
        raise SystemExit(f"it failed: {arguments}")
    whole = {"": (time.perf_counter() - begun, usage.ru_maxrss / 1e6)}
    return whole | {
        line[1]: (float(line[2]), float(line[3])) for line in lines if line[0] == "step"
    }


def make(path: Path, cells: int, share: float) -> None:
    # In a process of its own: the peak of a process is that of its parent at least.
    code = (
        "import sys; from slaf.data import synthetic; synthetic._SCALE *= float(sys.argv[3]); "
        f"synthetic.write_synthetic(sys.argv[1], int(sys.argv[2]), {GENES})"
    )
    command("-c", code, path, cells, share)


def measure(folder: Path, cells: int, share: float) -> dict[str, Figures]:
    made = folder / f"{cells}.slaf"
    donors, more = folder / "donors", folder / "more.h5ad"
    shutil.rmtree(made, ignore_errors=True)
    shutil.rmtree(donors, ignore_errors=True)
    donors.mkdir(parents=True)
    make(donors / "a.h5ad", cells // 5, share)
    for name in "bcde":
        os.link(donors / "a.h5ad", donors / f"{name}.h5ad")
    make(more, cells // 100, share)
    slaf = ("-m", "slaf.cli")
    found = {"convert five files": command(*slaf, "convert", donors, made, "--unique-cells")[""]}
    shutil.rmtree(donors)
    for name, code in STEPS.items():
        for step, figures in command("-c", BEGIN + code + END, made).items():
            found[f"{name}: {step}" if step else name] = figures
            print(cells, name, step, figures, flush=True)
    found["append a hundredth"] = command(*slaf, "append", more, made)[""]
    more.unlink()
    return found


def table(found: dict[str, dict[str, Figures]]) -> str:
    sizes = list(found)
    lines = [
        "| | " + " | ".join(f"{int(size):,} cells" for size in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for name in found[sizes[-1]]:
        cells = ("{:.2f} s, {:.2f} GB".format(*found[size][name]) for size in sizes)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(found: dict[str, dict[str, Figures]], target: Path) -> None:
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax in axes:
        ax.set_prop_cycle(color=colormaps["tab20"].colors)
    sizes = [int(size) for size in found]
    for name in next(iter(found.values())):
        if ":" not in name:
            for at, ax in enumerate(axes):
                ax.plot(sizes, [found[str(n)][name][at] for n in sizes], "o-", label=name)
    for ax, title in zip(axes, ("seconds", "peak memory, GB"), strict=True):
        ax.set(xscale="log", yscale="log", xlabel="cells", title=title)
        ax.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(target, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--share", type=float, default=0.064)
    options = parser.parse_args()
    kept = options.folder / "growth.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    for cells in options.cells:
        found[str(cells)] = measure(options.folder, cells, options.share)
        kept.write_text(json.dumps(found, indent=1))
    found = dict(sorted(found.items(), key=lambda item: int(item[0])))
    print(table(found))
    draw(found, options.folder / "growth.png")


if __name__ == "__main__":
    main()
