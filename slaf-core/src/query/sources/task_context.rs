//! The DataFusion context in which operators run.

use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, TaskContext};

/// The context of a session's operators, within the memory of the statement.
pub(crate) fn task_context(state: &SessionState) -> Arc<TaskContext> {
    let task = TaskContext::from(state);
    Arc::new(match state.config().get_extension::<RuntimeEnv>() {
        Some(runtime) => task.with_runtime(runtime),
        None => task,
    })
}
