"""Measures the explorer in headless Chromium: frames while the picture moves, and the time
from the last key of a gene name to its colours on screen.

    cd tests; python -m pytest -q -s -p no:cacheprovider bench/explorer.py

Set SLAF_CELLS to the numbers of cells (by default "100000 1000000"; 1,200 stored values per
cell, so a million need 10 GB of disk for a while). Do not use the machine meanwhile."""

from __future__ import annotations

import os
import statistics
import time

import pytest
from explorer_page import WAIT, Shown
from lab_page import opened
from slaf.data import SLAFConverter
from slaf.data.synthetic import write_synthetic

GENES = 16
SIZES = [int(n) for n in os.environ.get("SLAF_CELLS", "100000 1000000").split()]

#: Moves the picture for two seconds, and counts the frames that were drawn.
MOVING = """async stage => {
  const event = (type, x) => stage.dispatchEvent(new PointerEvent(type, {
    button: 0, pointerId: 1, bubbles: true, clientX: x, clientY: 300}));
  stage.setPointerCapture = () => {};
  const before = Number(stage.dataset.frames), begun = performance.now();
  event("pointerdown", 300);
  for (let x = 0; performance.now() - begun < 2000; x++) {
    event("pointermove", 300 + (x % 60));
    await new Promise(requestAnimationFrame);
  }
  event("pointerup", 300);
  return (Number(stage.dataset.frames) - before) / (performance.now() - begun) * 1000;
}"""

#: Waits for the next key, and then for the next colours; the result is in `colouring`.
COLOURS = """stage => {
  const before = Number(stage.dataset.updates);
  window.colouring = new Promise(resolve => document.addEventListener("keydown", async () => {
    const begun = performance.now();
    while (Number(stage.dataset.updates) === before) await new Promise(requestAnimationFrame);
    resolve(performance.now() - begun);
  }, {once: true, capture: true}));
}"""


@pytest.mark.parametrize("cells", SIZES)
def test_explorer(browser, lab, tmp_path, cells):
    source, made = tmp_path / "x.h5ad", tmp_path / "x.slaf"
    write_synthetic(source, cells)
    SLAFConverter().convert(source, made)
    source.unlink()
    notebook = opened(browser, lab)
    notebook.connect()
    notebook.page.set_default_timeout(4 * WAIT)
    output = notebook.run(
        f"import slaf\ndata = slaf.read_slaf({str(made)!r})\nslaf.explore(data, 'X_umap')"
    )
    shown = Shown(output)
    stage = shown.stages.first
    time.sleep(3)
    frames = [stage.evaluate(MOVING) for _ in range(3)]
    # Genes that many cells express, so that each has other colours than the one before.
    notebook.run("most = (-data.X.getnnz(axis=0)).argsort()")
    names = notebook.answer(f"' '.join(data.var_names[most[:{100 * GENES}:100]])")
    times = []
    for name in names.strip("'").split():
        shown.type_gene(name[:-1])
        time.sleep(1)
        stage.evaluate(COLOURS)
        notebook.page.keyboard.press(name[-1])
        times.append(notebook.page.evaluate("colouring"))
        shown.title(name)
    print(
        f"\n{cells:,} cells: {min(frames):.0f} to {max(frames):.0f} frames per second; new colours "
        f"after {min(times):.0f} to {max(times):.0f} ms, median {statistics.median(times):.0f}"
    )
    notebook.page.close()
