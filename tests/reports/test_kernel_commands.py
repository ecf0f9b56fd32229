"""`!command`: its output, its questions, and its end."""

from __future__ import annotations

import pytest
from kernels import PATIENCE, stream


def run(kernel, code: str, *typed: str) -> tuple[list[tuple[str, bool]], str]:
    """What a cell asks, and what it prints."""
    request, asked, typed = kernel.send(code, allow_stdin=True), [], list(typed)
    while typed:
        said = kernel.question()
        asked.append((said["prompt"], said["password"]))
        kernel.client.input(typed.pop(0))
    reply = kernel.reply(request)
    assert reply["status"] == "ok", reply
    return asked, stream(kernel.outputs(request)).replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("code", "typed", "asked", "said"),
    [
        ("!read x; echo got $x", ["Bob"], [""], "got Bob\n"),
        ("!python -c \"print('hi', input('name? '))\"", ["Bob"], ["name? "], "hi Bob\n"),
        (
            "!printf 'a? '; read a; printf 'b? '; read b; echo $a$b",
            ["1", "2"],
            ["a? ", "b? "],
            "12\n",
        ),
        ("!echo first; printf 'a? '; read a; echo $a", ["é中"], ["a? "], "first\né中\n"),
        # Lines, until Ctrl-D.
        ("!sort", ["b", "a", "\x04"], ["", "", ""], "a\nb\n"),
        # Through readline, which repeats what is typed.
        ("!python -c \"import readline; print(input('r? '))\"", ["Bob"], ["r? "], "Bob\n"),
        ("!cat | tr a-z A-Z", ["up", "\x04"], ["", ""], "UP\n"),
    ],
)
def test_what_a_command_asks_is_asked_of_the_front_end(shared, code, typed, asked, said):
    """ipython/ipython#10499, ipython/ipykernel#513, jupyterlab/jupyterlab#14041 a command that
    asks hangs for ever"""
    assert run(shared, code, *typed) == ([(prompt, False) for prompt in asked], said)


def test_passwords_are_asked_for_as_such(shared):
    code = '!python -c "import getpass; print(getpass.getpass()[::-1])"'
    asked, said = run(shared, code, "secret")
    assert asked == [("Password: ", True)] and said.strip() == "terces"
    asked, said = run(shared, "!bash -c 'read -s -p \"pw: \" x; read y; echo $x$y'", "one", "two")
    assert asked == [("pw: ", True), ("", False)] and said == "onetwo\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("!read x; echo got $x", ["got"]),
        ("!cat", []),
        ("!python -c \"print(len(__import__('sys').stdin.read()))\"", ["0"]),
    ],
)
def test_without_a_front_end_that_answers_input_is_at_its_end(shared, code, said):
    reply, outputs = shared.run(code, allow_stdin=False)
    assert reply["status"] == "ok"
    assert [line.strip() for line in stream(outputs).splitlines()] == said


@pytest.mark.parametrize(
    ("code", "said"),
    [
        # What looks like a prompt, and is none.
        ("!printf 'wait: '; sleep 1; echo done", "wait: done\n"),
        ('!for i in 1 2 3; do printf "\\r$i"; sleep 0.2; done', "\r1\r2\r3"),
        # It looks whether there is input, and goes on.
        ('!python -c "import select; print(select.select([0], [], [], 1.5)[0])"', "[]\n"),
        ("!sleep 1; echo over", "over\n"),
        # A job in the background may not read.
        ("!cat & sleep 1; echo over", "over\n"),
    ],
)
def test_a_command_that_does_not_read_is_not_kept_waiting(shared, code, said):
    assert run(shared, code) == ([], said)


@pytest.mark.parametrize(
    "code",
    [
        "!timeout --foreground 1 cat; echo over",
        "!bash -c 'read -t 1 -p \"t? \" x; echo; echo over'",
    ],
)
def test_a_question_that_is_not_waited_for_any_more(shared, code):
    request = shared.send(code, allow_stdin=True)
    reply = shared.reply(request)
    assert reply["status"] == "ok"
    assert stream(shared.outputs(request)).replace("\r\n", "\n").endswith("over\n")
    # An answer that comes too late is nobody's.
    while shared.client.stdin_channel.msg_ready():
        shared.client.get_stdin_msg(timeout=PATIENCE)
    shared.client.input("late")
    shared.run("")
    assert run(shared, "!read x; echo got $x", "now")[1] == "got now\n"


def test_the_end_of_a_command(shared):
    for code, status in (("exit 3", "3"), ("kill -9 $$", "-9"), ("true", "0")):
        shared.text(f"!{code}")
        assert shared.value("_exit_code") == status
    assert shared.text("x = 5\n!echo {x + 1} $x") == "6 5\r\n"
    assert shared.text("!printf '\\303'; sleep 0.2; printf '\\251'") == "é"
    assert shared.text("!yes | head -50000 | tail -1") == "y\r\n"
    reply, _ = shared.run("!sleep 9 &")
    assert reply["ename"] == "OSError"


@pytest.mark.parametrize(
    "code", ["!echo a; read x", "!echo a; sleep 1000", "!trap '' INT; echo a; sleep 1000"]
)
def test_a_command_is_interrupted_and_leaves_nothing(shared, code):
    request = shared.send(code, allow_stdin=True)
    shared.hear(request, "stream")
    if "read" in code:
        shared.question()
    shared.manager.interrupt_kernel()
    assert shared.reply(request)["status"] == "ok"
    assert "^C" in stream(shared.outputs(request))
    look = """
import os, threading
links = [os.path.realpath(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')]
left = [link for link in links if 'ptmx' in link or 'pidfd' in link]
left, [t.name for t in threading.enumerate() if t.name == 'slaf-asks']
"""
    assert shared.value(look) == "([], [])"
