//! Our errors inside DataFusion's.

use datafusion::error::DataFusionError;

pub(crate) fn external(error: crate::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
