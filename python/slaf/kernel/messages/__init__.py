"""Messages from and to front ends. The Rust side signs and sends them."""
