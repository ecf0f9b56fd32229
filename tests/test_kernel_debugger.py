"""The debugger, with the requests of JupyterLab's panel."""

from __future__ import annotations

import itertools

import pytest
from kernels import PATIENCE, Kernel

CODE = """\
def double(x):
    y = x * 2
    return y

total = 0
for i in range(3):
    total += double(i)
print(total)
"""


class Panel:
    """Sends DAP requests."""

    def __init__(self, kernel):
        self.kernel, self.numbers = kernel, itertools.count(1)

    def ask(self, command: str, **arguments) -> dict:
        content = {
            "type": "request",
            "seq": next(self.numbers),
            "command": command,
            "arguments": arguments,
        }
        request = self.kernel.request("debug_request", content, "control")
        return self.kernel.reply(request, channel="control")

    def event(self, name: str) -> dict:
        while True:
            message = self.kernel.client.get_iopub_msg(timeout=PATIENCE)
            if message["msg_type"] == "debug_event" and message["content"]["event"] == name:
                return message["content"]


@pytest.fixture
def panel(private_ipython):
    kernel = Kernel()
    panel = Panel(kernel)
    assert "debugger" in kernel.ask("kernel_info_request", {})["supported_features"]
    reply = panel.ask(
        "initialize",
        clientID="test",
        adapterID="",
        pathFormat="path",
        linesStartAt1=True,
        columnsStartAt1=True,
        supportsVariableType=True,
    )
    assert reply["success"]
    assert panel.ask("attach")["success"]
    yield panel
    kernel.stop()


def stop_at(panel, line: int) -> tuple[str, int]:
    """Runs the cell to a breakpoint: the request's id and the thread's."""
    path = panel.ask("dumpCell", code=CODE)["body"]["sourcePath"]
    reply = panel.ask("setBreakpoints", source={"path": path}, breakpoints=[{"line": line}])
    assert reply["body"]["breakpoints"][0]["verified"]
    assert panel.ask("configurationDone")["success"]
    request = panel.kernel.send(CODE)
    return request, panel.event("stopped")["body"]["threadId"]


def test_breakpoints_variables_and_stepping(panel):
    request, thread = stop_at(panel, 2)
    frames = panel.ask("stackTrace", threadId=thread)["body"]["stackFrames"]
    assert (frames[0]["name"], frames[0]["line"]) == ("double", 2)
    scopes = panel.ask("scopes", frameId=frames[0]["id"])["body"]["scopes"]
    reference = scopes[0]["variablesReference"]
    variables = panel.ask("variables", variablesReference=reference)["body"]["variables"]
    assert {v["name"]: v["value"] for v in variables} == {"x": "0"}
    rich = panel.ask("richInspectVariables", variableName="x", frameId=frames[0]["id"])
    assert rich["body"]["data"]["text/plain"] == "0"
    # The kernel answers others meanwhile.
    assert panel.kernel.ask("kernel_info_request", {}, "control")["status"] == "ok"

    panel.ask("next", threadId=thread)
    panel.event("stopped")
    frames = panel.ask("stackTrace", threadId=thread)["body"]["stackFrames"]
    assert frames[0]["line"] == 3
    info = panel.ask("debugInfo")["body"]
    assert info["isStarted"] and info["stoppedThreads"] == [thread]
    path = info["breakpoints"][0]["source"]
    panel.ask("setBreakpoints", source={"path": path}, breakpoints=[])
    panel.ask("continue", threadId=thread)
    assert panel.kernel.reply(request)["status"] == "ok"
    assert panel.ask("disconnect", restart=False, terminateDebuggee=False)["success"]
    assert panel.kernel.value("total") == "6"


def test_variables_without_a_stop(panel):
    panel.kernel.run("α = 'größe'; numbers = [1, 2]")
    variables = panel.ask("inspectVariables")["body"]["variables"]
    values = {v["name"]: v["value"] for v in variables}
    assert values["α"] == "'größe'" and values["numbers"] == "[1, 2]"
    rich = panel.ask("richInspectVariables", variableName="numbers")
    assert rich["body"]["data"]["text/plain"] == "[1, 2]"


def test_it_is_started_again(panel):
    panel.ask("disconnect", restart=False, terminateDebuggee=False)
    assert panel.ask("initialize", clientID="test", adapterID="")["success"]
    assert panel.ask("attach")["success"]
    request, thread = stop_at(panel, 7)
    assert panel.kernel.client.control_channel.is_alive()
    path = panel.ask("debugInfo")["body"]["breakpoints"][0]["source"]
    panel.ask("setBreakpoints", source={"path": path}, breakpoints=[])
    panel.ask("continue", threadId=thread)
    assert panel.kernel.reply(request)["status"] == "ok"


def test_requests_at_once_are_answered_one_by_one(panel):
    request, thread = stop_at(panel, 3)
    frame = panel.ask("stackTrace", threadId=thread)["body"]["stackFrames"][0]["id"]
    scopes = panel.ask("scopes", frameId=frame)["body"]["scopes"]
    sent = []
    for number, scope in enumerate(scopes * 3):
        arguments = {"variablesReference": scope["variablesReference"]}
        content = {"type": "request", "seq": 900 + number, "command": "variables"}
        content["arguments"] = arguments
        sent.append(panel.kernel.request("debug_request", content, "control"))
    replies = [panel.kernel.client.get_control_msg(timeout=PATIENCE) for _ in sent]
    assert [r["parent_header"]["msg_id"] for r in replies] == sent
    names = {v["name"] for v in replies[0]["content"]["body"]["variables"]}
    assert {"x", "y"} <= names
    states = []
    while len(states) < 2 * len(sent):
        message = panel.kernel.client.get_iopub_msg(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") in sent and message["msg_type"] == "status":
            states.append(message["content"]["execution_state"])
    assert states == ["busy", "idle"] * len(sent)
    panel.ask("disconnect", restart=False, terminateDebuggee=False)
    assert panel.kernel.reply(request)["status"] == "ok"
