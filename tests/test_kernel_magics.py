"""IPython's magics, matplotlib's backends and GUI event loops in a kernel."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from kernels import Kernel, displays, eventually, stream


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%timeit -n 1 -r 1 pass", "per loop"),
        ("%%timeit -n 1 -r 1\npass", "per loop"),
        ("%time 1", "CPU times"),
        ("%pwd", os.sep),
        ("%who_ls", "["),
        ("%lsmagic", "%timeit"),
        ("!echo from a shell", "from a shell"),
        ("%%bash\necho from bash", "from bash"),
        ("%%sh\necho from sh", "from sh"),
        ("%%script python3 -c 'print(input())'\nfrom a script", "from a script"),
        ("%%python3\nprint('from another python')", "from another python"),
        ("found = !echo captured\nprint(found)", "['captured']"),
        ("%env HOME", os.environ["HOME"]),
        ("%matplotlib inline\n%config InlineBackend.print_figure_kwargs", "tight"),
        ("%connect_info", "shell_port"),
        ("%precision 3\n3.14159", "3.142"),
        ("%%capture held\nprint('kept')", ""),
        ("print(held.stdout.strip())", "kept"),
        ("%prun -q -r pass", "Stats"),
        ("%history -l 1", ""),
        ("%pinfo zip", ""),
        ("%%html\n<b>x</b>", "<b>x</b>"),
        ("%%javascript\nalert", "alert"),
        ("%%latex\n$x$", "$x$"),
        ("%%markdown\n*x*", "*x*"),
        ("%%writefile {tmp}/written.py\nWRITTEN = 1", "Writing"),
        ("%run {tmp}/written.py\nWRITTEN", "1"),
    ],
)
def test_magics(shared, tmp_path_factory, code, said):
    folder = tmp_path_factory.getbasetemp() / "magics"
    folder.mkdir(exist_ok=True)
    reply, outputs = shared.run(code.replace("{tmp}", str(folder)))
    assert reply["status"] == "ok", reply
    shown = stream(outputs) + "".join(str(d) for d in displays(outputs))
    assert said in shown
    if code.startswith("%precision"):
        shared.run("%precision %r")


def test_help_opens_the_pager(shared):
    for code in ("zip?", "zip??", "?zip", "%timeit?"):
        reply, _ = shared.run(code)
        (page,) = reply["payload"]
        assert page["source"] == "page" and "text/plain" in page["data"]


def test_load_fills_the_next_cell(shared, tmp_path):
    (tmp_path / "some.py").write_text("loaded = 1\n")
    reply, _ = shared.run(f"%load {tmp_path}/some.py")
    (payload,) = reply["payload"]
    assert payload["source"] == "set_next_input" and "loaded = 1" in payload["text"]


def test_autoreload(shared, tmp_path):
    module = tmp_path / "changing_module.py"
    module.write_text("value = 1\n")
    shared.run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n%load_ext autoreload")
    shared.run("%autoreload 2\nimport changing_module")
    assert shared.value("changing_module.value") == "1"
    module.write_text("value = 'two'\n")
    os.utime(module, (time.time() + 5, time.time() + 5))
    assert shared.value("changing_module.value") == "'two'"
    shared.run("%autoreload 0")


def test_matplotlib(shared):
    shared.run("%matplotlib inline\nimport matplotlib.pyplot as plt")
    _, outputs = shared.run("fig, ax = plt.subplots(); ax.plot([1, 2]); plt.show(); print('after')")
    kinds = [m["msg_type"] for m in outputs if m["msg_type"] in ("display_data", "stream")]
    assert kinds == ["display_data", "stream"]
    shared.run("%config InlineBackend.figure_format = 'svg'")
    _, outputs = shared.run("plt.plot([1, 2]);")
    assert "image/svg+xml" in displays(outputs)[-1]
    shared.run("%config InlineBackend.figure_format = 'png'")
    reply, outputs = shared.run("%matplotlib widget\nplt.figure()\nplt.plot([1, 2]);\nplt.show()")
    assert reply["status"] == "ok", reply
    assert any(m["msg_type"] == "comm_open" for m in outputs)
    shared.run("plt.close('all')\n%matplotlib inline")


def test_windows_without_a_screen(shared):
    shared.run("import os\nfor name in ('DISPLAY', 'WAYLAND_DISPLAY'): os.environ.pop(name, 0)")
    for magic in ("%gui tk", "%gui qt5"):
        _, outputs = shared.run(magic)
        assert "There is no screen here" in stream(outputs) + stream(outputs, "stderr")
    reply, _ = shared.run("%matplotlib tk")
    assert "headless" in reply["evalue"]
    assert shared.run("%matplotlib inline")[0]["status"] == "ok"


@pytest.fixture
def screen():
    """A display of nobody's."""
    read, write = os.pipe()
    with os.fdopen(read) as told:
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-nolisten", "tcp"],
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        yield f":{told.readline().strip()}"
    server.terminate()
    server.wait()


def test_windows_live_between_cells(private_ipython, screen):
    kernel = Kernel(env=os.environ | {"DISPLAY": screen})
    try:
        kernel.run("%gui tk")
        kernel.run(
            "import tkinter\nroot = tkinter.Tk()\nticks = []\n"
            # An interrupt may strike one before it has asked for its next turn.
            "def tick(n):\n    root.after(5, tick, n)\n    ticks.append(n)\n"
            "for n in range(2): root.after(5, tick, n)"
        )

        def ticks() -> int:
            return int(kernel.value("len(ticks)"))

        # The window's loop runs, and so do tasks and requests.
        seen = ticks()
        eventually(lambda: ticks() > seen + 5)
        kernel.run("import asyncio\ntask = asyncio.create_task(asyncio.sleep(0.05, 'done'))")
        eventually(lambda: kernel.value("task.done()") == "True")
        assert kernel.value("task.result()") == "'done'"
        kernel.manager.interrupt_kernel()
        # It may come to a cell that has begun meanwhile.
        kernel.run("None")
        struck = ticks()
        eventually(lambda: ticks() > struck + 5)
        # A figure is a window, and closing it does no harm.
        reply, _ = kernel.run(
            "%matplotlib tk\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);\nplt.show()\n"
            "canvas = type(plt.gcf().canvas).__name__"
        )
        assert reply["status"] == "ok", reply
        assert kernel.value("canvas") == "'FigureCanvasTkAgg'"
        kernel.run("plt.close('all')\nroot.destroy()")
        kernel.run("%gui")
        assert kernel.value("1 + 1") == "2"
    finally:
        kernel.stop()
