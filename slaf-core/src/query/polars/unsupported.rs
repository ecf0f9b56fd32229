//! Why Polars does not run a statement.

/// The reason, in a few words.
pub(crate) type Reason = String;
pub(crate) type Lowered<T> = Result<T, Reason>;

pub(crate) fn refuse<T>(reason: impl Into<String>) -> Lowered<T> {
    Err(reason.into())
}
