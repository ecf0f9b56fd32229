"""The Jupyter kernel: sockets in Rust, Python cells in IPython's shell.

To libraries it is an `ipykernel` kernel, whose class it extends: what they look
for is there, and what it does is what ipykernel does, over other sockets.
"""
