//! Whole columns of a table, kept in memory for later queries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrow::array::{Array, ArrayRef};
use polars::prelude::Column;

use super::column_codes::Codes;
use crate::Result;
use crate::ground::arrow_polars::plain_to_polars;

/// Approximate maximum size of the cached columns of a table, in bytes.
const ROOM: usize = 1 << 30;

/// Cached columns by name.
#[derive(Debug, Default)]
pub(super) struct ColumnCache(Mutex<HashMap<String, CachedColumn>>);

#[derive(Debug, Clone)]
pub(super) struct CachedColumn {
    pub(super) array: ArrayRef,
    /// The same column in Polars, made when first used.
    series: Arc<OnceLock<Column>>,
    /// The codes of the column, if it has any, made when first grouped by.
    codes: Arc<OnceLock<Option<Arc<Codes>>>>,
}

impl CachedColumn {
    pub(super) fn in_polars(&self, name: &str) -> Result<Column> {
        if let Some(known) = self.series.get() {
            return Ok(known.clone());
        }
        let new = plain_to_polars(name, &self.array)?;
        Ok(self.series.get_or_init(|| new).clone())
    }

    pub(super) fn codes(&self) -> Result<Option<Arc<Codes>>> {
        if let Some(known) = self.codes.get() {
            return Ok(known.clone());
        }
        let new = Codes::of(&self.array)?.map(Arc::new);
        Ok(self.codes.get_or_init(|| new).clone())
    }
}

impl ColumnCache {
    /// All columns that are cached.
    pub(super) fn columns(&self) -> HashMap<String, CachedColumn> {
        self.lock().clone()
    }

    /// Caches columns. If there is no room for them, the other columns are removed.
    pub(super) fn insert(
        &self,
        names: &[&str],
        arrays: &[ArrayRef],
    ) -> HashMap<String, CachedColumn> {
        let size = |array: &ArrayRef| array.get_array_memory_size();
        let new: HashMap<String, CachedColumn> = names
            .iter()
            .zip(arrays)
            .map(|(name, array)| {
                let column = CachedColumn {
                    array: Arc::clone(array),
                    series: Arc::default(),
                    codes: Arc::default(),
                };
                ((*name).to_owned(), column)
            })
            .collect();
        let mut all = self.lock();
        let here: usize = all.values().map(|column| size(&column.array)).sum();
        if here + arrays.iter().map(size).sum::<usize>() > ROOM {
            all.clear();
        }
        all.extend(new.clone());
        new
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CachedColumn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
