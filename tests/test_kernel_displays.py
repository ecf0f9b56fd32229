"""Displays and widgets of libraries, and what libraries look for in a kernel."""

from __future__ import annotations

import pytest
from kernels import displays, only

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
