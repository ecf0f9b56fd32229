"""The Jupyter kernel: sockets in Rust, Python cells in IPython's shell."""
