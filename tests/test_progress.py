"""Progress of long jobs: in notebooks (our kernel and ipykernel), on a terminal, in a log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time

import pytest
from conftest import make_counts
from kernels import Kernel, stream
from slaf.data import SLAFConverter
from slaf.ground import progress
from slaf.ground.progress_views import Job

#: As if every job took long.
AT_ONCE = "from slaf.ground import progress\nprogress._DELAY = 0\n"


@pytest.fixture(scope="module", params=["slaf", "python3"])
def notebook(request, private_ipython, pbmc_slaf, pbmc_h5ad):
    kernel = Kernel(request.param)
    kernel.text(
        f"{AT_ONCE}import time, slaf\n"
        "from slaf.data import SLAFConverter\nfrom slaf.integrations import read_slaf\n"
        f"path = {str(pbmc_slaf)!r}\npbmc = read_slaf(path)\nh5ad = {str(pbmc_h5ad)!r}\n"
        "get_ipython().run_line_magic('load_ext', 'slaf')"
    )
    yield kernel
    kernel.stop()


@pytest.fixture(scope="module")
def counts_slaf(tmp_path_factory):
    target = tmp_path_factory.mktemp("counts") / "counts.slaf"
    SLAFConverter().convert_anndata(make_counts(), target)
    return target


def bars(outputs) -> list[dict]:
    """The progress of a cell as it is shown one after the other, all in one place."""
    shown = [m for m in outputs if m["content"].get("transient", {}).get("display_id")]
    assert len({m["content"]["transient"]["display_id"] for m in shown}) <= 1
    kinds = [m["msg_type"] for m in shown]
    assert kinds == ["display_data", *["update_display_data"] * (len(kinds) - 1)][: len(kinds)]
    return [m["content"]["data"] for m in shown]


JOBS = {
    "convert": (
        "SLAFConverter().convert(h5ad, '{new}')",
        "X: 700 cells in .* · raw: 700 cells in ",
    ),
    "convert a handle": ("SLAFConverter().convert_handle(pbmc, '{new}')", "X: 700 cells in "),
    "export": (
        "from slaf.data.exporter import export_h5ad\nexport_h5ad(pbmc, '{new}.h5ad')",
        "X: 700 cells",
    ),
    "statistics": (
        "import numpy as np\nfor _ in pbmc.X.blocks(100): pass",
        "reading: 700 cells in",
    ),
    "matrix": ("pbmc.X.compute()", "reading: "),
    "handle": ("pbmc.to_adata()", "reading: "),
    "SQL": ("%%sql\nSELECT SUM(value) FROM expression", "SQL: "),
    "query": ("slaf.SLAFArray('{slaf}').query('SELECT SUM(value) FROM expression')", "SQL: "),
    "loader": (
        "from slaf.ml import SLAFDataLoader\n"
        "for _ in SLAFDataLoader('{slaf}', batch_size=100, raw_mode=True): pass",
        "loader: 7 batches in",
    ),
    "tokens": (
        "from slaf.ml.token_shards import write_token_shards\n"
        "from slaf.dataset import Dataset\n"
        "write_token_shards(Dataset.open('{counts}'), '{new}', 'scgpt', shard_cells=10)",
        "tokens: 60 cells in",
    ),
    "markers": (
        "from slaf.scanpy import tl\ntl.rank_genes_groups(pbmc, 'louvain', method='wilcoxon')",
        "genes by group: ",
    ),
    "validate": (
        "from slaf.data.upkeep import validate\nfrom slaf.dataset import Dataset\n"
        "assert not any(problem for _, problem in validate(Dataset.open('{slaf}')))",
        r"validate: \d+ tasks in ",
    ),
    "index": (
        "from slaf.data.vector_index import index_vectors\nfrom slaf.dataset import Dataset\n"
        "index_vectors(Dataset.open('{new}'), 'X_pca', 'l2', 2)",
        "index of X_pca: ",
    ),
}


@pytest.mark.parametrize("job", JOBS)
def test_each_long_job_is_shown_in_one_place(notebook, job, tmp_path, pbmc_slaf, counts_slaf):
    code, says = JOBS[job]
    new = tmp_path / "new"
    if job == "index":
        notebook.text(f"SLAFConverter().convert(h5ad, {str(new)!r})")
    for name, path in {"new": new, "slaf": pbmc_slaf, "counts": counts_slaf}.items():
        code = code.replace(f"{{{name}}}", str(path))
    reply, outputs = notebook.run(code)
    assert reply["status"] == "ok", reply
    last = bars(outputs)[-1]
    assert re.search(says, last["text/plain"]), last
    assert "stopped" not in last["text/plain"] and "<progress" not in last["text/html"]


def test_jobs_in_each_other_are_shown_together(notebook):
    _, outputs = notebook.run(
        "with progress.job('parts <1>', 2, 'part') as parts:\n"
        "    for part in range(2):\n"
        "        for _ in pbmc.X.blocks(350): time.sleep(0.4)\n"
        "        parts(part + 1)"
    )
    running = [data for data in bars(outputs) if data["text/html"].count("<progress") == 2]
    assert running, bars(outputs)
    outer, inner = running[0]["text/plain"].split("\n")
    assert outer.startswith("parts <1>: 0 % · 0 of 2 parts") and inner.startswith("  reading: ")
    assert "parts &lt;1&gt;" in running[0]["text/html"]
    assert re.fullmatch(r"parts <1>: 2 parts in [\d.]+ s", bars(outputs)[-1]["text/plain"])


def test_jobs_one_after_the_other_are_summed(notebook):
    _, outputs = notebook.run("for _ in range(3):\n    for _ in pbmc.X.blocks(350): pass")
    assert bars(outputs)[-1]["text/plain"].startswith("reading: 2,100 cells in ")


INTERRUPTED = {
    "blocks": "for _ in pbmc.X.blocks(7): time.sleep(0.2)",
    "abandoned": "blocks = pbmc.X.blocks(7)\nnext(blocks)\nwhile True: time.sleep(0.2)",
    "SQL": "%%sql\nSELECT COUNT(*) FROM expression a CROSS JOIN expression b "
    "WHERE a.value * b.value > 3",
}


@pytest.mark.parametrize("code", INTERRUPTED)
def test_an_interrupt_leaves_no_bar(notebook, code):
    request = notebook.send(INTERRUPTED[code])
    notebook.hear(request, "display_data")
    notebook.manager.interrupt_kernel()
    assert notebook.reply(request)["ename"] == "KeyboardInterrupt"
    updates = [m for m in notebook.outputs(request) if m["msg_type"] == "update_display_data"]
    last = updates[-1]["content"]["data"]
    assert ": stopped" in last["text/plain"] and "<progress" not in last["text/html"]
    # It stays as it is.
    _, outputs = notebook.run("time.sleep(0.6)")
    assert not bars(outputs)


LEFT = {
    "one block": "_ = next(pbmc.X.blocks(100))",
    "break": "for start, _ in pbmc.X.blocks(100):\n    if start == 300: break",
    "abandoned": "blocks = pbmc.X.blocks(100)\nfor _ in range(4): _ = next(blocks)",
    "loader": "from slaf.ml import SLAFDataLoader\n"
    "for _ in SLAFDataLoader(path, batch_size=100, raw_mode=True): break",
}


@pytest.mark.parametrize("code", LEFT)
def test_what_is_left_early_is_no_failure(notebook, code):
    reply, outputs = notebook.run(LEFT[code])
    assert reply["status"] == "ok", reply
    last = bars(outputs)[-1]
    says = {"one block": r"reading: [\d.]+ s", "loader": r"loader: [\d.]+ s"}
    assert re.match(says.get(code, "reading: 300 cells in "), last["text/plain"]), last
    assert "<progress" not in last["text/html"]


def test_an_error_of_the_reader_says_where_it_stopped(notebook):
    reply, outputs = notebook.run("for start, _ in pbmc.X.blocks(100): 1 / (start - 300)")
    assert reply["ename"] == "ZeroDivisionError"
    last = bars(outputs)[-1]["text/plain"]
    assert last.startswith("reading: stopped at 300 of 700 cells after "), last


def test_a_compilation_of_rust_names_the_crate(shared):
    """The process of the Rust cells is not started: this is what it would tell."""
    _, outputs = shared.run(
        f"{AT_ONCE}from slaf.rust_cells.output import CompileProgress\nimport time\n"
        "with CompileProgress() as told:\n    for crate in ('serde', 'rand'):\n"
        "        told(crate); time.sleep(0.5)"
    )
    texts = [data["text/plain"] for data in bars(outputs)]
    assert any(text.startswith("compiling: rand · 2 crates · ") for text in texts), texts
    assert texts[-1].startswith("compiling: 2 crates in ")


# Terminals and logs -----------------------------------------------------------

CONVERT = (
    f"{AT_ONCE}from slaf.ground import progress_views\n"
    "progress_views.Stream._PAUSE = 0\n"
    "from slaf.data import dataset_writer\nimport sys, time\n"
    "dataset_writer.add_bytes = lambda n: (progress.add_bytes(n), time.sleep(0.3))\n"
    "from slaf.cli import main\nsys.exit(main(sys.argv[1:]))"
)


def test_a_terminal_has_one_line_which_is_gone_at_the_end(pbmc_h5ad, tmp_path):
    target = str(tmp_path / "x.slaf")
    said = on_terminal("-c", CONVERT, "convert", str(pbmc_h5ad), target)
    before, _, rest = said.partition(f"{target}: version")
    assert "\x1b" not in said and "\n" not in before
    frames = [frame for frame in before.split("\r") if frame]
    assert any(re.match(r"[█░]{16} X: 0 % · 0 of 700 cells · ", frame) for frame in frames), frames
    assert frames[-1].isspace() and before.endswith("\r"), frames
    assert "700 cells" in rest


def test_an_interrupted_terminal_is_clean(pbmc_slaf):
    code = (
        f"{AT_ONCE}from slaf.integrations import read_slaf\nimport time, os, signal\n"
        f"try:\n    for _ in read_slaf({str(pbmc_slaf)!r}).X.blocks(70):\n"
        "        time.sleep(0.3); os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    *frames, blank, _ = on_terminal("-c", code).partition("interrupted")[0].split("\r")
    assert any("reading: " in frame for frame in frames) and blank.isspace()


def test_a_log_has_lines_without_control_characters(pbmc_h5ad, tmp_path):
    command = [sys.executable, "-c", CONVERT, "convert", str(pbmc_h5ad), str(tmp_path / "x.slaf")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", done.stderr)
    for line in done.stderr.splitlines():
        assert re.match(r"(X|raw|X by gene): .*( left| s|, [\d.]+ \w+)$", line), line
    assert done.stdout.count("\n") == 1


#: A generator of three steps, each of which is drawn, and a reader.
STEPS = (
    f"{AT_ONCE}import os, signal, time\nview, drawn = progress.views.Stream, []\n"
    "view._PAUSE, show = 0, view.show\n"
    "view.show = lambda *shown: (show(*shown), drawn.append(shown))\n"
    "def steps(interrupted=False):\n"
    "    with progress.job('steps', 3, 'step') as job:\n"
    "        for step in range(3):\n"
    "            job(step + 1); drawn.clear()\n"
    "            while not drawn: time.sleep(0.01)\n"
    "            if interrupted: os.kill(os.getpid(), signal.SIGINT)\n"
    "            yield step\n"
    "for step in {steps}:\n    if step: break"
)


def test_a_terminal_has_nothing_of_what_is_left_early():
    code = STEPS.replace("{steps}", "steps()") + "\nprint('next')"
    *frames, blank, _ = on_terminal("-c", code).partition("next")[0].split("\r")
    assert any("steps: " in frame for frame in frames) and blank.isspace()
    assert not any("stopped" in frame for frame in frames)


def test_a_log_tells_what_is_left_early_from_what_is_interrupted():
    def log(steps: str) -> str:
        command = [sys.executable, "-c", STEPS.replace("{steps}", steps)]
        return subprocess.run(command, capture_output=True, text=True).stderr

    *running, last = log("steps()").splitlines()
    assert running and re.fullmatch(r"steps: 2 steps in [\d.]+ s", last), last
    said = log("steps(interrupted=True)")
    assert re.search(r"^steps: stopped at 1 of 3 steps after ", said, re.MULTILINE), said
    assert "KeyboardInterrupt" in said


@pytest.mark.parametrize("why", ["environment", "worker", "tqdm"])
def test_who_wants_none_has_none(why, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setattr(progress.views.Stream, "_PAUSE", 0)
    monkeypatch.setattr(progress.views, "shell", lambda: None)
    if why == "environment":
        monkeypatch.setenv("SLAF_PROGRESS", "0")
    with progress.views.quiet() if why == "worker" else progress.job("around", 1, "part"):
        if why == "tqdm":
            from tqdm import tqdm

            capsys.readouterr()
            for _ in tqdm(range(1), file=open(os.devnull, "w")):
                work()
        else:
            work()
            assert not capsys.readouterr().err
    assert "work" not in capsys.readouterr().err


def work() -> None:
    with progress.job("work", 2, "step") as job:
        for step in range(2):
            job(step + 1)
            time.sleep(0.3)


def on_terminal(*arguments: str) -> str:
    """What Python shows on a terminal with these arguments."""
    ours, its = pty.openpty()
    program = subprocess.Popen([sys.executable, *arguments], stdin=its, stdout=its, stderr=its)
    os.close(its)
    said = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        said += part
    program.wait()
    os.close(ours)
    return said.decode()


# Words ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "seconds", "words", "outcome"),
    [
        (
            Job("X", 1_000_000, "cell", done=250_000, bytes=2_000_000),
            10,
            "X: 25 % · 250,000 of 1,000,000 cells · 25,000 a second · 2.0 MB · 30 s left",
            "X: 250,000 cells in 10 s, 2.0 MB",
        ),
        (Job("validate"), 4000, "validate: 1:06:40", "validate: 1:06:40"),
        (
            Job("x", 0, "batch", done=1),
            2,
            "x: 1 batch · 0.5 a second · 2.0 s",
            "x: 1 batch in 2.0 s",
        ),
        (
            # An earlier call has done 60.
            Job("X", 100, "cell", done=80, start=60),
            10,
            "X: 80 % · 80 of 100 cells · 2 a second · 10 s left",
            "X: 80 cells in 10 s",
        ),
        (
            Job("copy", 2000, "byte", done=1500, failed=True),
            1,
            "copy: 75 % · 1.5 kB of 2.0 kB · 1.5 kB a second · 0.3 s left",
            "copy: stopped at 1.5 kB of 2.0 kB after 1.0 s",
        ),
    ],
)
def test_words(job, seconds, words, outcome):
    job._ended = job._begun + seconds
    assert (job.words(), job.outcome()) == (words, outcome)


def test_a_running_cell_prints_beside_its_bar(shared):
    _, outputs = shared.run(
        f"{AT_ONCE}import time\nwith progress.job('work', 3, 'step') as job:\n"
        "    for step in range(3): print(step); job(step + 1); time.sleep(0.2)"
    )
    assert stream(outputs) == "0\n1\n2\n" and bars(outputs)


def test_the_thread_that_draws_ends_before_python():
    # What is registered first runs last.
    code = (
        "import atexit\natexit.register(lambda: print(progress._TICKER._thread.is_alive()))\n"
        "from slaf.ground import progress\nwith progress.job('work'): pass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n" and not done.stderr


def test_a_job_goes_on_if_nobody_can_be_told(monkeypatch):
    class Closed:
        closed = False

        def isatty(self):
            raise BrokenPipeError

    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setattr(progress.views, "shell", lambda: None)
    monkeypatch.setattr(sys, "stderr", Closed())
    work()
    assert not progress._ACTIVE
