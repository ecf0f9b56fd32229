"""Python cells are IPython's: magics, shells, debuggers, configuration, and the
displays of libraries."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest
from kernels import Kernel, fresh, only, private_ipython, shared, stream  # noqa: F401


def displays(outputs) -> list[dict]:
    kinds = ("display_data", "execute_result")
    return [m["content"]["data"] for m in outputs if m["msg_type"] in kinds]


# Magics ---------------------------------------------------------------------


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
    shared.run(
        "import os\n"
        "for name in ('DISPLAY', 'WAYLAND_DISPLAY'): os.environ.pop(name, 0)"
    )
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
    server.wait(10)


def test_windows_live_between_cells(private_ipython, screen):  # noqa: F811
    kernel = Kernel(env=os.environ | {"DISPLAY": screen})
    try:
        kernel.run("%gui tk")
        kernel.run(
            "import tkinter\nroot = tkinter.Tk()\nticks = []\n"
            "def tick():\n    ticks.append(1)\n    root.after(5, tick)\n"
            "root.after(5, tick)"
        )
        seen = int(kernel.value("len(ticks)"))
        time.sleep(1)
        # The window's loop ran, and so do tasks and requests.
        assert int(kernel.value("len(ticks)")) > seen + 5
        kernel.run("import asyncio\ntask = asyncio.create_task(asyncio.sleep(0.05, 'done'))")
        time.sleep(0.5)
        assert kernel.value("task.result()") == "'done'"
        kernel.manager.interrupt_kernel()
        time.sleep(0.3)
        seen = int(kernel.value("len(ticks)"))
        time.sleep(0.5)
        assert int(kernel.value("len(ticks)")) > seen
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


# Displays of libraries ---------------------------------------------------------

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.mark.parametrize(
    ("code", "mime"),
    [
        ("import ipywidgets; ipywidgets.IntSlider()", WIDGET),
        ("import ipywidgets; ipywidgets.interactive(lambda x: x, x=3)", WIDGET),
        ("from tqdm.notebook import tqdm\nfor _ in tqdm(range(3)): pass", WIDGET),
        (
            "import anywidget, traitlets\nclass W(anywidget.AnyWidget):\n"
            "    _esm = 'export default {{ render() {{}} }}'.replace('{{', '{').replace('}}', '}')\n"
            "    n = traitlets.Int(0).tag(sync=True)\nW()",
            WIDGET,
        ),
        (
            "import altair, pandas\naltair.Chart(pandas.DataFrame({'x': [1]}))"
            ".mark_point().encode(x='x')",
            "text/html",
        ),
        (
            "import plotly.graph_objects as go\ngo.Figure(go.Scatter(y=[1, 2]))",
            "application/vnd.plotly.v1+json",
        ),
        (
            "import jscatter, numpy as np\njscatter.plot(np.arange(3.), np.arange(3.))",
            WIDGET,
        ),
        ("import pandas as pd; pd.DataFrame({'x': [1]})", "text/html"),
        ("import polars as pl; pl.DataFrame({'x': [1]})", "text/html"),
        ("from IPython.display import SVG; SVG('<svg/>')", "image/svg+xml"),
        ("from IPython.display import Math; Math('x')", "text/latex"),
    ],
)
def test_displays(shared, code, mime):
    reply, outputs = shared.run(code)
    assert reply["status"] == "ok", reply
    assert any(mime in data for data in displays(outputs)), [d.keys() for d in displays(outputs)]


def test_an_output_widget_catches_output(shared):
    _, outputs = shared.run(
        "import ipywidgets\nout = ipywidgets.Output()\nwith out:\n    print('inside')\nprint('x')"
    )
    updates = [
        m["content"]["data"]["state"].get("msg_id")
        for m in outputs
        if m["msg_type"] == "comm_msg" and "state" in m["content"]["data"]
    ]
    parent = outputs[0]["parent_header"]["msg_id"]
    assert updates == [parent, ""]


def test_comms_of_old_libraries(shared):
    _, outputs = shared.run(
        "import warnings; warnings.simplefilter('ignore')\n"
        "from ipykernel.comm import Comm\nold = Comm(target_name='old', data={'x': 1})"
    )
    assert only(outputs, "comm_open")["target_name"] == "old"
    comms = shared.ask("comm_info_request", {"target_name": "old"})["comms"]
    assert comms == {shared.value("old.comm_id").strip("'"): {"target_name": "old"}}
    shared.run(
        "heard = []\nget_ipython().kernel.comm_manager.register_target("
        "'mine', lambda comm, message: heard.append(message['content']['data']))"
    )
    shared.outputs(
        shared.request("comm_open", {"comm_id": "abc", "target_name": "mine", "data": {"y": 2}})
    )
    assert shared.value("heard") == "[{'y': 2}]"


@pytest.mark.parametrize(
    "code",
    [
        "import tqdm.autonotebook as t; t.tqdm.__name__ == 'tqdm_notebook'",
        "from rich.console import Console; Console().is_jupyter",
        "from ipykernel.kernelapp import IPKernelApp; IPKernelApp.instance().kernel is get_ipython().kernel",
        "import ipykernel; ipykernel.get_connection_file().endswith('.json')",
        "get_ipython().kernel.session.session != ''",
        "get_ipython().kernel.shell is get_ipython()",
        "get_ipython().parent is get_ipython().kernel",
        "__import__('__main__').__dict__ is globals()",
        "from IPython.display import publish_display_data, display; True",
        "get_ipython().kernel.get_parent()['header']['username'] != ''",
    ],
)
def test_what_libraries_look_for(shared, code):
    assert shared.value(code) == "True"


# Debugging ------------------------------------------------------------------------


def conversation(kernel, request: str, *answers: str) -> dict:
    for answer in answers:
        kernel.client.get_stdin_msg(timeout=20)
        kernel.client.input(answer)
    return kernel.reply(request)


def test_post_mortem(shared):
    shared.run("def broken(x):\n    inner = x + 1\n    return inner / 0\nbroken(1)")
    request = shared.send("%debug", allow_stdin=True)
    reply = conversation(shared, request, "p inner", "up", "p 'caller'", "q")
    assert reply["status"] == "ok"
    said = stream(shared.outputs(request))
    assert "2" in said.split() and "'caller'" in said


def test_set_trace(shared):
    request = shared.send("x = 4\nbreakpoint()\ny = x * 2", allow_stdin=True)
    assert conversation(shared, request, "p x + 38", "c")["status"] == "ok"
    assert "42" in stream(shared.outputs(request))
    assert shared.value("y") == "8"


def test_passwords_are_asked_for_as_such(shared):
    request = shared.send("import getpass; word = getpass.getpass('secret? ')", allow_stdin=True)
    asked = shared.client.get_stdin_msg(timeout=20)["content"]
    assert asked == {"prompt": "secret? ", "password": True}
    shared.client.input("open")
    assert shared.reply(request)["status"] == "ok"
    assert shared.value("word") == "'open'"


def test_a_thread_may_ask(shared):
    request = shared.send(
        "import threading\nanswers = []\n"
        "t = threading.Thread(target=lambda: answers.append(input('who? ')))\nt.start(); t.join()",
        allow_stdin=True,
    )
    assert conversation(shared, request, "me")["status"] == "ok"
    assert shared.value("answers") == "['me']"


def test_tracebacks_point_to_cells(shared):
    reply, _ = shared.run("def f(x):\n    return 1 / x\n\nf(0)")
    text = "\n".join(reply["traceback"])
    assert "\x1b[" in text
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert re.search(r"Cell In\[\d+\], line 4", text) and "----> 2     return 1 / x" in text
    assert reply["ename"] == "ZeroDivisionError"


def test_chained_exceptions(shared):
    reply, _ = shared.run("try:\n    1/0\nexcept Exception as e:\n    raise ValueError('outer') from e")
    assert reply["ename"] == "ValueError"
    assert any("ZeroDivisionError" in line for line in reply["traceback"])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
def test_exception_groups(shared):
    reply, _ = shared.run("raise ExceptionGroup('many', [ValueError(1), KeyError(2)])")
    assert (reply["status"], reply["ename"]) == ("error", "ExceptionGroup")


# Between cells -----------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task takes a context since 3.11")
def test_context_variables_last(shared):
    shared.run("import contextvars, asyncio\nv = contextvars.ContextVar('v')\nv.set(1)")
    assert shared.value("v.get()") == "1"
    shared.run("await asyncio.sleep(0)\nv.set(2);")
    assert shared.value("v.get()") == "2"


def test_history_across_sessions(private_ipython):
    first = Kernel()
    first.run("unforgettable = 12345")
    first.manager.shutdown_kernel()
    first.client.stop_channels()
    second = Kernel()
    try:
        content = {"hist_access_type": "search", "pattern": "unforgettable*", "n": 1}
        ((_, _, text),) = second.ask("history_request", content)["history"]
        assert text == "unforgettable = 12345"
    finally:
        second.stop()


def test_configuration_startup_files_and_options(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    profile = tmp_path / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup" / "10-mine.py").write_text("from_startup = 1")
    (profile / "ipython_config.py").write_text("c.InteractiveShell.ast_node_interactivity = 'all'\n")
    (profile / "ipython_kernel_config.py").write_text(
        "c.IPKernelApp.exec_lines = ['from_exec_lines = 2']\nc.IPKernelApp.extensions = ['autoreload']\n"
    )
    kernel = Kernel(extra_arguments=["--InteractiveShell.cache_size=17"])
    try:
        assert kernel.value("from_startup + from_exec_lines") == "3"
        assert kernel.value("get_ipython().cache_size") == "17"
        _, outputs = kernel.run("1\n2")
        assert [d["text/plain"] for d in displays(outputs)] == ["1", "2"]
        assert kernel.value("'autoreload' in get_ipython().magics_manager.magics['line']") == "True"
    finally:
        kernel.stop()


def test_a_broken_startup_file_is_told_and_survived(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    (tmp_path / "profile_default" / "startup").mkdir(parents=True)
    (tmp_path / "profile_default" / "startup" / "bad.py").write_text("1 / 0")
    kernel = Kernel()
    try:
        assert kernel.value("1 + 1") == "2"
    finally:
        kernel.stop()


def test_an_await_that_computes_is_interrupted(shared):
    request = shared.send("import asyncio\nawait asyncio.sleep(0)\nwhile True: pass")
    time.sleep(0.7)
    begun = time.monotonic()
    shared.manager.interrupt_kernel()
    assert shared.reply(request)["ename"] == "KeyboardInterrupt"
    assert time.monotonic() - begun < 5
    shared.outputs(request)
    assert shared.value("1 + 1") == "2"


def test_a_task_that_hangs_between_cells_is_interrupted(shared):
    shared.run(
        "import asyncio\nasync def hang():\n    while True: pass\n"
        "async def soon():\n    await asyncio.sleep(0.2); await hang()\ntask = asyncio.create_task(soon())"
    )
    time.sleep(0.6)
    request = shared.send("1 + 1")
    deadline = time.monotonic() + 20
    while True:
        shared.client.control_channel.send(shared.client.session.msg("interrupt_request"))
        shared.client.get_control_msg(timeout=10)
        try:
            assert shared.reply(request, timeout=1)["status"] == "ok"
            break
        except Exception:
            assert time.monotonic() < deadline
    shared.outputs(request)


def test_a_conversion_is_interrupted_and_leaves_nothing(shared, tmp_path):
    from conftest import make_counts

    source = tmp_path / "many.h5ad"
    make_counts(60_000, 300).write_h5ad(source)
    request = shared.send(
        "from slaf.data import SLAFConverter\n"
        f"for i in range(1000): SLAFConverter().convert({str(source)!r}, {str(tmp_path / 'out.slaf')!r}, overwrite=True)"
    )
    time.sleep(1.5)
    shared.manager.interrupt_kernel()
    assert shared.reply(request, timeout=20)["ename"] == "KeyboardInterrupt"
    shared.outputs(request)
    assert shared.value("1 + 1") == "2"
    from slaf import SLAFArray

    if (tmp_path / "out.slaf").exists():
        assert SLAFArray(tmp_path / "out.slaf").shape == (60_000, 300)


def test_a_child_of_a_shell_cell_is_interrupted(shared):
    request = shared.send("!sleep 61")
    time.sleep(1)
    shared.manager.interrupt_kernel()
    shared.reply(request, timeout=20)
    shared.outputs(request)
    found = subprocess.run(["pgrep", "-f", "sleep 61"], capture_output=True, text=True)
    assert found.stdout.strip() == ""


def test_children_of_other_groups_end_with_the_kernel(private_ipython):
    import psutil

    kernel = Kernel()
    kernel.run("import os, subprocess\nc = subprocess.Popen(['sleep', '301'], preexec_fn=os.setpgrp)")
    child = psutil.Process(int(kernel.value("c.pid")))
    kernel.manager.shutdown_kernel()
    kernel.client.stop_channels()
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert not alive
