//! `slaf._slaf`: the engine, the displays and the kernel for Python. Rust code runs
//! without the GIL and can be interrupted; arrays and tables are passed without a
//! copy.

// Futures of the engine are nested more deeply than the default allows.
#![recursion_limit = "256"]

mod arrays;
mod dataset;
mod display;
mod errors;
mod kernel;
mod loader;
mod revision;
mod search;
mod share;
mod sql;
mod sql_params;
mod sql_text;
mod stats;
mod storage;
mod tokens;
mod upkeep;
mod wait;
mod writer;

use pyo3::prelude::*;

/// Blocks of megabytes are allocated and freed on several threads. The system's
/// allocator does not return that memory; this one reuses it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The allocator's settings, by number because the bindings have no names for
/// them.
const OPTIONS: [(libmimalloc_sys::mi_option_t, std::ffi::c_long); 2] = [
    // `mi_option_arena_eager_commit`: memory is committed as it is needed, not by the
    // gigabyte; this leaves a fifth less of it in use.
    (4, 0),
    // `mi_option_purge_delay`: milliseconds after which freed memory is returned to the
    // system. By default it is kept for a second, in which a streamed matrix frees hundreds
    // of megabytes.
    (15, 20),
];

#[pymodule]
fn _slaf(m: &Bound<'_, PyModule>) -> PyResult<()> {
    for (option, value) in OPTIONS {
        // SAFETY: the call only sets a number in the allocator's table of options.
        unsafe { libmimalloc_sys::mi_option_set(option, value) };
    }
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("SlafError", m.py().get_type::<errors::SlafError>())?;
    add_classes(m)?;
    add_functions(m)
}

fn add_classes(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<dataset::Dataset>()?;
    m.add_class::<sql::Answer>()?;
    m.add_class::<sql_text::SqlCell>()?;
    m.add_class::<sql_text::Statement>()?;
    m.add_class::<writer::Writer>()?;
    m.add_class::<writer::PairsWriter>()?;
    m.add_class::<revision::Revision>()?;
    m.add_class::<stats::Moments>()?;
    m.add_class::<stats::Gram>()?;
    m.add_class::<tokens::Tokenizer>()?;
    m.add_class::<loader::Loader>()?;
    m.add_class::<loader::Batches>()?;
    m.add_class::<kernel::Kernel>()?;
    m.add_class::<kernel::Lane>()?;
    m.add_class::<kernel::Request>()?;
    m.add_class::<share::Shared>()?;
    m.add_class::<storage::Chunks>()?;
    m.add_class::<storage::Transposer>()?;
    Ok(())
}

fn add_functions(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(storage::exists, m)?)?;
    m.add_function(wrap_pyfunction!(storage::download, m)?)?;
    m.add_function(wrap_pyfunction!(storage::file_size, m)?)?;
    m.add_function(wrap_pyfunction!(storage::read_range, m)?)?;
    m.add_function(wrap_pyfunction!(storage::upload, m)?)?;
    m.add_function(wrap_pyfunction!(storage::history, m)?)?;
    m.add_function(wrap_pyfunction!(storage::vacuum, m)?)?;
    m.add_function(wrap_pyfunction!(upkeep::index, m)?)?;
    m.add_function(wrap_pyfunction!(upkeep::index_part, m)?)?;
    m.add_function(wrap_pyfunction!(upkeep::index_parts, m)?)?;
    m.add_function(wrap_pyfunction!(search::index_vectors, m)?)?;
    m.add_function(wrap_pyfunction!(search::nearest_of, m)?)?;
    m.add_function(wrap_pyfunction!(search::nearest_rows, m)?)?;
    m.add_function(wrap_pyfunction!(search::vector_index, m)?)?;
    m.add_function(wrap_pyfunction!(storage::repair, m)?)?;
    m.add_function(wrap_pyfunction!(upkeep::validate, m)?)?;
    m.add_function(wrap_pyfunction!(upkeep::validation_part, m)?)?;
    m.add_function(wrap_pyfunction!(upkeep::validation_parts, m)?)?;
    m.add_function(wrap_pyfunction!(sql::complete_sql, m)?)?;
    m.add_function(wrap_pyfunction!(sql_text::fill_sql, m)?)?;
    m.add_function(wrap_pyfunction!(sql::inspect_sql, m)?)?;
    m.add_function(wrap_pyfunction!(sql_text::bound_sql, m)?)?;
    m.add_function(wrap_pyfunction!(sql_text::parse_sql, m)?)?;
    m.add_function(wrap_pyfunction!(sql_text::split_sql, m)?)?;
    m.add_function(wrap_pyfunction!(sql_text::sql_holes, m)?)?;
    m.add_class::<sql::SharedQuery>()?;
    m.add_function(wrap_pyfunction!(sql::query, m)?)?;
    m.add_function(wrap_pyfunction!(sql::query_part, m)?)?;
    m.add_function(wrap_pyfunction!(sql::share_query, m)?)?;
    m.add_function(wrap_pyfunction!(sql_text::parse_cell, m)?)?;
    m.add_function(wrap_pyfunction!(tokens::gene_medians, m)?)?;
    m.add_function(wrap_pyfunction!(stats::apply_steps, m)?)?;
    m.add_function(wrap_pyfunction!(stats::group_sums, m)?)?;
    m.add_function(wrap_pyfunction!(stats::group_sums_by_gene, m)?)?;
    m.add_function(wrap_pyfunction!(stats::row_moments, m)?)?;
    m.add_function(wrap_pyfunction!(stats::to_csc, m)?)?;
    m.add_function(wrap_pyfunction!(stats::top_sums, m)?)?;
    m.add_function(wrap_pyfunction!(display::draw_card, m)?)?;
    m.add_function(wrap_pyfunction!(display::draw_plan, m)?)?;
    m.add_function(wrap_pyfunction!(display::draw_sparse, m)?)?;
    m.add_function(wrap_pyfunction!(display::draw_table, m)?)?;
    m.add_function(wrap_pyfunction!(display::nearest, m)?)?;
    m.add_function(wrap_pyfunction!(share::open_shared, m)?)?;
    m.add_function(wrap_pyfunction!(share::shared_bytes, m)?)?;
    Ok(())
}
