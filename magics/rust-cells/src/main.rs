//! The process behind `%%rust`. evcxr re-executes its host in three other roles,
//! so this one executable has four:
//!
//! ```text
//! Python ── host (evcxr: compiles, completes) ── relay ── runtime (the cells)
//!                └── cargo ── rustc, by way of this executable as its wrapper
//! ```
//!
//! The relay parts what a cell prints from what evcxr's generated code says, as
//! it comes and by bytes, and outlives a crash of the runtime long enough to pass
//! on its last words.

mod analysis;
mod cells;
mod flags;
mod host;
mod impls;
mod interrupt;
mod macros;
mod progress;
mod relay;
mod report;
mod request;
mod runtime;
mod seed;
mod source;
mod world;

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
