//! The DataFusion context in which operators run.

use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, TaskContext};

/// A context for the operators of a session, with the statement's memory limit.
pub(crate) fn task_context(state: &SessionState) -> Arc<TaskContext> {
    let task = TaskContext::from(state);
    Arc::new(match state.config().get_extension::<RuntimeEnv>() {
        Some(runtime) => task.with_runtime(runtime),
        None => task,
    })
}
