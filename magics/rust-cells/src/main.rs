//! The process behind `%%rust`. evcxr starts its host again in three other roles,
//! so this one executable has four:
//!
//! ```text
//! Python ── host (evcxr: compiles, completes) ── relay ── runtime (the cells)
//!                └── cargo ── rustc, by way of this executable as its wrapper
//! ```
//!
//! The relay separates the output of a cell from the messages of evcxr's generated
//! code, byte by byte, as it arrives. If the runtime crashes, the relay still
//! passes on its last output.

mod cell_environment;
mod cells;
mod crate_cache;
mod flags;
mod host;
mod impl_blocks;
mod interrupt;
mod macros;
mod progress;
mod relay;
mod report;
mod request;
mod runtime;
mod rust_analyzer;
mod source;

fn main() {
    let is = |name: &str| std::env::var_os(name).is_some();
    if is(relay::RUNTIME) {
        runtime::run();
    } else if is("EVCXR_IS_RUNTIME") {
        relay::run();
    } else {
        // Does not return if cargo runs this as rustc's wrapper.
        progress::tell();
        evcxr::runtime_hook();
        host::run();
    }
}
