"""Cases of nbclient's own tests: notebooks that it runs, and their content afterwards."""

from __future__ import annotations

import threading
from datetime import datetime

import nbformat
import pytest
from kernels import PATIENCE, of_cells
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

pytestmark = pytest.mark.usefixtures("private_ipython")


def ran(*cells: str | NotebookNode, **options) -> NotebookNode:
    made = of_cells(*cells)
    NotebookClient(made, **{"timeout": PATIENCE} | options).execute()
    return made


def texts(cell: NotebookNode) -> list[str]:
    """What a reader sees below a cell."""
    return [o["text"] if "text" in o else o["data"]["text/plain"] for o in cell.outputs]


def test_a_notebook_says_what_ran_it_and_when():
    made = ran("1", "", "print('ü', '→', '🧬')")
    assert made.metadata.language_info.name == "python"
    assert made.metadata.language_info.file_extension == ".py"
    assert [c.execution_count for c in made.cells] == [1, None, 2]
    assert texts(made.cells[2]) == ["ü → 🧬\n"]
    times = made.cells[0].metadata.execution
    order = ["iopub.status.busy", "iopub.execute_input", "iopub.status.idle"]
    assert [times[o] for o in order] == sorted(times[o] for o in order)
    for time in times.values():
        datetime.fromisoformat(time.replace("Z", "+00:00"))


def test_clearing_output():
    clear = "from IPython.display import clear_output\n"
    made = ran(
        clear + "print('gone')\nclear_output()",
        clear + "print('gone')\nclear_output(wait=True)\nprint('stays')",
        clear + "for i in range(10):\n    clear_output(wait=True)\n    print(i)",
        clear + "print('stays')\nclear_output(wait=True)",
    )
    assert [texts(c) for c in made.cells] == [[], ["stays\n"], ["9\n"], ["stays\n"]]


def test_displays_with_an_id_change_where_they_are():
    made = ran(
        "from IPython.display import display, update_display\ndisplay('one', display_id='a');",
        "display('two', display_id='a')\ndisplay('other', display_id='b');",
        "update_display('three', display_id='a')",
        "update_display('nowhere', display_id='c')",
    )
    assert [texts(c) for c in made.cells] == [["'three'"], ["'three'", "'other'"], [], []]


def test_pictures():
    made = ran(
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "from IPython.display import Image, SVG\nSVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')",
        "import base64\nImage(base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='))",
    )
    kinds = [set(c.outputs[0].data) - {"text/plain"} for c in made.cells]
    assert kinds == [{"image/png"}, {"image/svg+xml"}, {"image/png"}]


def test_widgets_and_what_they_hold():
    made = ran(
        "import ipywidgets\nfrom IPython.display import display, clear_output\n"
        "slider = ipywidgets.IntSlider(value=7)\nslider",
        "out = ipywidgets.Output()\nwith out:\n    print('inside')\n    display('shown')\nprint('beside')",
        "inner = ipywidgets.Output()\nwith out:\n    clear_output()\n    display(inner)\n"
        "    with inner:\n        print('innermost')",
    )
    assert [texts(c) for c in made.cells[1:]] == [["beside\n"], []]
    states = made.metadata.widgets["application/vnd.jupyter.widget-state+json"].state
    held = [s.state.outputs for s in states.values() if s.model_name == "OutputModel"]
    assert [o[0].get("text") for o in held if o[0].output_type == "stream"] == ["innermost\n"]
    (slider,) = [s.state for s in states.values() if s.model_name == "IntSliderModel"]
    assert slider.value == 7


def test_comms_of_no_widget_are_survived():
    made = ran(
        "from comm import create_comm\nc = create_comm(target_name='mine', data={'a': 1})\n"
        "c.send({'b': 2})\nc.close()\nprint('done')"
    )
    assert texts(made.cells[0]) == ["done\n"]


def test_errors_end_a_notebook_unless_it_expects_them():
    with pytest.raises(CellExecutionError, match="division by zero"):
        ran("1 / 0")
    expected = new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]})
    made = ran(expected, "print('reached')", "skipped = 1")
    assert made.cells[0].outputs[0].ename == "ZeroDivisionError"
    assert texts(made.cells[1]) == ["reached\n"]
    made = ran("{}['x']", "1", allow_error_names=["KeyError"])
    assert made.cells[0].outputs[0].evalue == "'x'"
    with pytest.raises(CellExecutionError):
        ran("1 / 0", "1", allow_error_names=["KeyError"])


def test_cells_that_are_not_to_run():
    skipped = new_code_cell("print('no')", metadata={"tags": ["skip-execution"]})
    assert [texts(c) for c in ran(skipped, "print('yes')").cells] == [[], ["yes\n"]]


def test_input_is_refused():
    with pytest.raises(CellExecutionError, match="StdinNotImplementedError"):
        ran("input('?')")


def test_too_slow_and_interrupted():
    with pytest.raises(CellTimeoutError):
        ran("import time\ntime.sleep(1000)", timeout=1)
    made = ran(
        "while True: pass",
        "print('done')",
        timeout_func=lambda cell: 2 if "while" in cell.source else PATIENCE,
        interrupt_on_timeout=True,
        allow_errors=True,
    )
    assert made.cells[0].outputs[0].ename == "KeyboardInterrupt"
    assert texts(made.cells[1]) == ["done\n"]


@pytest.mark.parametrize("code", ["import os; os._exit(1)", "import os; os.kill(os.getpid(), 9)"])
def test_a_death_is_noticed(code):
    with pytest.raises(DeadKernelError):
        ran(code)


def test_two_notebooks_at_once(tmp_path):
    """Each waits for what the other writes."""
    code = (
        "import os, time\nopen({mine!r}, 'w').close()\n"
        "while not os.path.exists({other!r}): time.sleep(0.05)\nprint('met')"
    )
    paths = [str(tmp_path / name) for name in "ab"]
    found: list[list[str]] = []

    def run(mine: str, other: str) -> None:
        found.append(texts(ran(code.format(mine=mine, other=other)).cells[0]))

    threads = [threading.Thread(target=run, args=p) for p in (paths, paths[::-1])]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert found == [["met\n"]] * 2


def test_history_in_memory():
    made = ran(
        "get_ipython().history_manager.hist_file",
        extra_arguments=["--HistoryManager.hist_file=:memory:"],
    )
    assert texts(made.cells[0]) == ["':memory:'"]


def test_one_client_runs_several_times():
    made = of_cells("n = globals().get('n', 0) + 1\nn")
    client = NotebookClient(made, timeout=PATIENCE)
    for _ in range(2):
        client.execute()
        assert texts(made.cells[0]) == ["1"]
    nbformat.validate(made)
