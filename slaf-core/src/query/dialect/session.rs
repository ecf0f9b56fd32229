//! DataFusion's sessions: their common settings, and the memory limit of each.

use std::sync::{Arc, LazyLock};

use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider,
};
use datafusion::error::Result;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::prelude::SessionConfig;

use super::arithmetic::OurArithmetic;
use super::functions;
use super::keep_nulls::KeepNulls;
use super::regexp_lists;
use super::signed_zeros::SignedZeros;
use super::text_slices::SliceTexts;

pub(crate) const CATALOG: &str = "slaf";
pub(crate) const SCHEMA: &str = "public";

/// What all sessions share: functions, rules and settings.
static BASE: LazyLock<SessionState> = LazyLock::new(|| {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema(CATALOG, SCHEMA);
    let options = config.options_mut();
    // Unquoted names such as `nCount_RNA` keep their case, and NULLs sort last.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.default_null_ordering = "nulls_last".into();
    // The hash table of metadata is built once, and the values are not shuffled.
    options.optimizer.hash_join_single_partition_threshold = 256 << 20;
    options.optimizer.hash_join_single_partition_threshold_rows = 20 << 20;
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(OurArithmetic),
        Arc::new(SignedZeros),
        Arc::new(KeepNulls),
    ];
    rules.extend(Analyzer::new().rules);
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        // Our planners come before the default ones.
        .with_expr_planners(vec![Arc::new(SliceTexts)])
        .with_default_features()
        .with_analyzer_rules(rules)
        .build();
    for function in functions::all().into_iter().chain(regexp_lists::all()) {
        // The result is the function that had this name before: none.
        let _ = state.register_udf(function);
    }
    state
});

/// A session that begins now, without tables. If it needs more than `memory` bytes, it
/// spills to disk.
pub(crate) fn begin(memory: usize, sorted_joins: bool, recursive: bool) -> Result<SessionState> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
        .build_arc()?;
    let tables = MemoryCatalogProvider::new();
    let catalogs = MemoryCatalogProviderList::new();
    tables.register_schema(SCHEMA, Arc::new(MemorySchemaProvider::new()))?;
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(tables));
    let mut config = BASE.config().clone().with_extension(runtime);
    let settings = config.options_mut();
    let reserved = &mut settings.execution.sort_spill_reservation_bytes;
    *reserved = (*reserved).min(memory / 8);
    settings.optimizer.prefer_hash_join = !sorted_joins;
    let mut state = BASE.clone();
    if recursive {
        // This rule removes columns that the recursive term refers to by position.
        let rules = BASE.optimizers().iter();
        let rules = rules.filter(|rule| rule.name() != "optimize_projections");
        state = SessionStateBuilder::new_from_existing(state)
            .with_optimizer_rules(rules.cloned().collect())
            .build();
    }
    *state.config_mut() = config;
    state.register_catalog_list(Arc::new(catalogs));
    state.mark_start_execution();
    Ok(state)
}

/// Whether the function `name`, in lower case, is an aggregate function.
pub(crate) fn is_aggregate(name: &str) -> bool {
    BASE.aggregate_functions().contains_key(name)
}

pub(crate) fn is_window(name: &str) -> bool {
    BASE.window_functions().contains_key(name)
}

pub(crate) fn function_names() -> Vec<String> {
    let state = &*BASE;
    let scalar = state.scalar_functions().keys();
    let aggregate = state.aggregate_functions().keys();
    scalar
        .chain(aggregate)
        .chain(state.window_functions().keys())
        .cloned()
        .collect()
}
