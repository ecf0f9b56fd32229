"""The Jupyter kernel. The sockets are in Rust; Python cells run in IPython's shell.

To libraries it is an `ipykernel` kernel: its classes extend ipykernel's, so what
libraries look for is there and behaves the same.

From the bottom up:

- `output`: stdout and stderr of cells, and which cell a write belongs to
- `processes`: displays by processes that a cell starts
- `messages`: messages from and to front ends, as JSON
- `cells`: IPython's shell, interrupts, time limits, magics
- `requests`: the threads that take requests and answer them
- `kernel`, `app`, `embed`, `__main__`: the kernel as a whole, and how it starts

Beside them, `cli` is the command `slaf kernel`.
"""
