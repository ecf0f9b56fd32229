//! Retries requests that an object store's client does not retry itself. The client
//! resumes the body of an object that breaks off, but not a listing or an error
//! response.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use lance::io::WrappingObjectStore;
use object_store::list::PaginatedListStore;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// Wraps a store in a [`Retrying`] store.
#[derive(Debug)]
pub(super) struct Retry;

impl WrappingObjectStore for Retry {
    fn wrap(&self, _: &str, original: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(Retrying(original))
    }

    fn wrap_paginated(
        &self,
        _: &str,
        _: Arc<dyn PaginatedListStore>,
    ) -> Option<Arc<dyn PaginatedListStore>> {
        None
    }
}

#[derive(Debug, Clone)]
struct Retrying(Arc<dyn ObjectStore>);

/// Whether a response broke off, so that the request can be repeated.
fn broke_off(error: &object_store::Error) -> bool {
    let object_store::Error::Generic { source, .. } = error else {
        return false;
    };
    let mut cause: Option<&dyn std::error::Error> = Some(&**source);
    while let Some(error) = cause {
        let text = error.to_string();
        if [
            "response body",
            "body from",
            "incomplete message",
            "connection closed",
            "IncompleteBody",
        ]
        .iter()
        .any(|mark| text.contains(mark))
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Repeats a request while its response breaks off.
macro_rules! again {
    ($ask:expr) => {{
        let mut attempt = 1;
        loop {
            match $ask.await {
                Err(error) if attempt < ATTEMPTS && broke_off(&error) => {
                    tokio::time::sleep(PAUSE * 2u32.pow(attempt)).await;
                    attempt += 1;
                }
                answer => break answer,
            }
        }
    }};
}

impl fmt::Display for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Retrying {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.0.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        again!(self.0.get_opts(location, options.clone()))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (Arc::clone(&self.0), prefix.cloned());
        listed(async move { again!(store.list(prefix.as_ref()).try_collect::<Vec<_>>()) })
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix, offset) = (Arc::clone(&self.0), prefix.cloned(), offset.clone());
        listed(async move {
            again!(
                store
                    .list_with_offset(prefix.as_ref(), &offset)
                    .try_collect::<Vec<_>>()
            )
        })
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        again!(self.0.list_with_delimiter(prefix))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        again!(self.0.copy_opts(from, to, options.clone()))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.0.rename_opts(from, to, options).await
    }
}

fn listed(
    answer: impl Future<Output = Result<Vec<ObjectMeta>>> + Send + 'static,
) -> BoxStream<'static, Result<ObjectMeta>> {
    stream::once(answer)
        .map_ok(|found| stream::iter(found.into_iter().map(Ok)))
        .try_flatten()
        .boxed()
}
