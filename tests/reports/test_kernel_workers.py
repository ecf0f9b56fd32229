"""Processes that cells start: what they print, display, ask for and return."""

from __future__ import annotations

import pytest
from kernels import only, stream

DEFINED = """
import dataclasses, multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor
K = 10
def plus(x): return x + K
@dataclasses.dataclass
class P:
    x: int
    def up(self): return P(plus(self.x))
def up(p): return p.up()
def show(i):
    from IPython.display import HTML, display, update_display
    display(HTML(f'<b>{i}</b>'), display_id=f'id{i}')
    update_display(HTML(f'<i>{i}</i>'), display_id=f'id{i}')
def bare(i): display({'text/plain': f'd{i}'}, raw=True)
"""


@pytest.fixture
def defined(shared):
    shared.text(DEFINED)
    return shared


@pytest.mark.parametrize("kind", ["spawn", "forkserver", "fork"])
def test_what_a_notebook_defines_is_known_to_its_processes(defined, kind):
    """jupyter/notebook#5261, ipython/ipython#10894 `Can't get attribute 'f' on <module
    '__main__'>`, and the pool hangs"""
    got = "[P(x=11), P(x=12)], [True, True]"
    reply = "r, [type(p) is P for p in r]"
    code = f"with mp.get_context({kind!r}).Pool(2) as pool: r = pool.map(up, [P(1), P(2)])\n{reply}"
    assert defined.value(code) == f"({got})"
    code = f"with ProcessPoolExecutor(1, mp_context=mp.get_context({kind!r})) as pool: "
    assert defined.value(f"{code} r = [*pool.map(up, [P(1), P(2)])]\n{reply}") == f"({got})"


def test_what_a_notebook_does_not_define_is_an_error_and_no_hang(defined):
    code = (
        "import pickle\nclass Gone: pass\nsaid = pickle.dumps(Gone()); del Gone\n"
        "with ProcessPoolExecutor(1, mp_context=mp.get_context('spawn')) as pool: "
        "pool.submit(pickle.loads, said).result()"
    )
    reply, _ = defined.run(code)
    assert reply["ename"] == "AttributeError" and "'Gone'" in reply["evalue"]
    defined.run("import threading; lock = threading.Lock()\ndef locked(): return lock")
    reply, _ = defined.run(code.replace("said)", "pickle.dumps(locked))"))
    assert reply["ename"] == "UnpicklingError" and "The notebook's 'locked'" in reply["evalue"]


@pytest.mark.parametrize("kind", ["spawn", "forkserver", "fork"])
def test_displays_of_processes_are_seen_in_the_cell_that_runs(defined, kind):
    """tqdm/tqdm#485, ipython/ipython#11049 nothing is seen of children's displays"""
    pool = f"pool = mp.get_context({kind!r}).Pool(1)"
    _, outputs = defined.run(f"{pool}\npool.map(show, [1, 2])")
    seen = [
        (m["msg_type"], m["content"]["data"]["text/html"], m["content"]["transient"]["display_id"])
        for m in outputs
        if "display" in m["msg_type"]
    ]
    assert seen == [
        (kind, f"<{tag}>{i}</{tag}>", f"id{i}")
        for i in (1, 2)
        for kind, tag in (("display_data", "b"), ("update_display_data", "i"))
    ]
    # By the same process, in a later cell.
    _, outputs = defined.run("pool.map(bare, [7]); pool.close(); pool.join()")
    assert only(outputs, "display_data")["data"] == {"text/plain": "d7"}


@pytest.mark.parametrize("kind", ["spawn", "fork"])
def test_figures_and_bars_of_processes(defined, kind):
    defined.run(
        "def draw(i):\n    import matplotlib.pyplot as plt\n    plt.plot([1, 2]); plt.show()\n"
        "def count(i):\n    from ipywidgets import IntProgress\n    bar = IntProgress(max=3)\n"
        "    display(bar)\n    for _ in range(3): bar.value += 1\n"
    )
    run = f"p = mp.get_context({kind!r}).Process(target=TARGET, args=(1,)); p.start(); p.join()"
    _, outputs = defined.run(run.replace("TARGET", "draw"))
    assert len(only(outputs, "display_data")["data"]["image/png"]) > 1000
    _, outputs = defined.run(run.replace("TARGET", "count"))
    view = only(outputs, "display_data")["data"]["application/vnd.jupyter.widget-view+json"]
    of_comms = [m["content"] for m in outputs if m["msg_type"].startswith("comm_")]
    values = [c["data"]["state"]["value"] for c in of_comms if c["data"].get("method") == "update"]
    assert values == [1, 2, 3] and view["model_id"] in [c["comm_id"] for c in of_comms]
    # The end of the process is not the end of what it shows.
    assert not [m for m in outputs if m["msg_type"] == "comm_close"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_processes_of_joblib(defined, unbuffered):
    """ipython/ipykernel#402 joblib's workers print nowhere the second time; and their lines
    are torn by those of others if Python's streams have no buffer"""
    pytest.importorskip("joblib")
    defined.run(
        f"import os; os.environ['PYTHONUNBUFFERED'] = {unbuffered!r}\n"
        "from joblib import Parallel, delayed\n"
        "from joblib.externals.loky import get_reusable_executor"
    )
    try:
        for word in ("first", "second"):
            code = f"_ = Parallel(2)(delayed(print)({word!r}, i, 'of', 500) for i in range(500))"
            said = sorted(defined.text(code).splitlines())
            assert said == sorted(f"{word} {i} of 500" for i in range(500))
        _, outputs = defined.run("_ = Parallel(2)(delayed(bare)(i) for i in range(3))")
        shown = [m["content"]["data"] for m in outputs if m["msg_type"] == "display_data"]
        assert sorted(d["text/plain"] for d in shown) == ["d0", "d1", "d2"]
        assert (
            defined.value("Parallel(2)(delayed(up)(P(i)) for i in (1, 2))") == "[P(x=11), P(x=12)]"
        )
        code = (
            "def bar(i):\n    from tqdm.auto import tqdm\n    return sum(tqdm(range(3), desc='bar'))\n"
            "_ = Parallel(2)(delayed(bar)(i) for i in range(2))"
        )
        _, outputs = defined.run(code)
        assert stream(outputs, "stderr").count("bar: 100%") == 2
    finally:
        defined.run("get_reusable_executor().shutdown(wait=True)")
