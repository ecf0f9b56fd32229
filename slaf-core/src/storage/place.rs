//! The place of a dataset: a folder, a prefix in a bucket, or memory. Only this
//! file uses object stores. Credentials come from the environment variables that
//! the cloud's own tools use, or from `options`.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use lance::io::{ObjectStore, ObjectStoreParams, ObjectStoreRegistry, StorageOptionsAccessor};
use lance::session::Session;
use lance_io::traits::Writer;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::io::AsyncWriteExt;

use super::address::{SCHEMES, absolute, is_remote, quoted, quoted_part, with_defaults};
use super::local_folder::{is_empty, remove_folder};
use super::retry::Retry;
use crate::{Error, Progress, Result, nearest};

/// Size of the index cache, and of the metadata cache.
const CACHE_BYTES: usize = 256 << 20;
/// Objects that are copied or removed at the same time.
const AT_ONCE: usize = 16;

static REGISTRY: LazyLock<Arc<ObjectStoreRegistry>> = LazyLock::new(Arc::default);
static RETRY: LazyLock<Arc<Retry>> = LazyLock::new(|| Arc::new(Retry));

/// A folder on some storage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Place {
    /// As shown to people.
    uri: Arc<str>,
    /// As passed to Lance: quoted where an address needs it.
    address: Arc<str>,
    store: Arc<ObjectStore>,
    path: Path,
    options: Arc<HashMap<String, String>>,
    session: Arc<Session>,
}

impl Place {
    /// The folder at `uri`: a local path, or `file://`, `memory://`, `s3://`,
    /// `gs://`, `az://`, `abfss://`, `hf://`. It need not exist.
    pub async fn new(uri: &str, options: HashMap<String, String>) -> Result<Self> {
        let scheme = uri.split_once("://").map(|(scheme, _)| scheme);
        let unknown = scheme.filter(|s| !SCHEMES.contains(s));
        if let Some(scheme) = unknown {
            let mut near = nearest(scheme, SCHEMES.iter().copied());
            if near.is_empty() {
                near = ["s3", "gs", "az", "hf"].map(str::to_owned).to_vec();
            }
            return Err(Error::Unknown {
                kind: "storage scheme",
                name: format!("{scheme}://"),
                near,
            });
        }
        let uri = uri.strip_prefix("file://").unwrap_or(uri);
        let trimmed = uri.trim_end_matches('/');
        let uri = if trimmed.is_empty() { uri } else { trimmed };
        let options = with_defaults(scheme, options);
        let session = Session::new(CACHE_BYTES, CACHE_BYTES, Arc::clone(&REGISTRY));
        let address = quoted(&absolute(uri));
        let (store, path) = ObjectStore::from_uri_and_params(
            Arc::clone(&REGISTRY),
            &address,
            &params(&options, is_remote(&address)),
        )
        .await
        .map_err(|e| Error::storage(uri, &e))?;
        Ok(Self {
            uri: uri.into(),
            address: address.into(),
            store,
            path,
            options: Arc::new(options),
            session: Arc::new(session),
        })
    }

    /// The address as the user wrote it.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The folder `name` inside this one.
    pub fn join(&self, name: &str) -> Self {
        Self {
            uri: format!("{}/{name}", self.uri).into(),
            address: self.table_uri(name).into(),
            path: self.inside(name),
            ..self.clone()
        }
    }

    /// The hidden folder beside this one, in which it is prepared. Messages
    /// show the name of this one.
    pub(crate) fn staging(&self) -> Result<Self> {
        let key = self.path.as_ref();
        let (above, name) = key.rsplit_once('/').unwrap_or(("", key));
        if name.is_empty() {
            return Err(Error::Engine {
                message: format!("`{}` names no folder.", self.uri),
            });
        }
        let staged = format!(".{name}.partial");
        let path = raw(&format!("{above}/{staged}"));
        let address = match self.address.rsplit_once('/') {
            Some((outside, _)) if self.address.contains("://") => {
                format!("{outside}/{}", quoted_part(&staged))
            }
            _ => format!("/{path}"),
        };
        Ok(Self {
            address: address.into(),
            path,
            ..self.clone()
        })
    }

    /// The folder in the local file system, if it exists.
    pub fn local(&self) -> Option<PathBuf> {
        self.store
            .is_local()
            .then(|| PathBuf::from(format!("/{}", self.path)))
    }

    /// Lance's address of the table `name`.
    pub(crate) fn table_uri(&self, name: &str) -> String {
        if self.address.contains("://") {
            format!("{}/{}", self.address, quoted_part(name))
        } else {
            format!("{}/{name}", self.address)
        }
    }

    /// The settings of the object store.
    pub fn options(&self) -> HashMap<String, String> {
        (*self.options).clone()
    }

    pub(crate) fn params(&self) -> ObjectStoreParams {
        params(&self.options, is_remote(&self.address))
    }

    pub(crate) fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session)
    }

    /// The file `name`, or `None` if there is none.
    pub async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        let outcome = async {
            let found = self.store.inner.get(&self.inside(name)).await?;
            found.bytes().await
        };
        match outcome.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(Error::storage(&self.uri, &e)),
        }
    }

    /// Writes the file `name`, completely or not at all.
    pub async fn put(&self, name: &str, content: impl Into<Bytes>) -> Result<()> {
        self.store
            .inner
            .put(&self.inside(name), PutPayload::from(content.into()))
            .await
            .map_err(|e| Error::storage(&self.uri, &e))?;
        Ok(())
    }

    /// Copies the file `name` to a local file.
    pub async fn download(&self, name: &str, to: &std::path::Path) -> Result<()> {
        let failed = |e: object_store::Error| self.missing(name, &e);
        let found = self.store.inner.get(&self.inside(name)).await;
        let mut parts = found.map_err(failed)?.into_stream();
        let mut file = std::fs::File::create(to).map_err(|e| Error::io(to, e))?;
        while let Some(part) = parts.try_next().await.map_err(failed)? {
            file.write_all(&part).map_err(|e| Error::io(to, e))?;
        }
        Ok(())
    }

    /// Size of the file `name` in bytes.
    pub async fn size(&self, name: &str) -> Result<u64> {
        let found = self.store.inner.head(&self.inside(name)).await;
        Ok(found.map_err(|e| self.missing(name, &e))?.size)
    }

    /// A range of bytes of the file `name`.
    pub async fn read_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let read = self.store.inner.get_range(&self.inside(name), range).await;
        read.map_err(|e| self.missing(name, &e))
    }

    fn missing(&self, name: &str, error: &object_store::Error) -> Error {
        match error {
            object_store::Error::NotFound { .. } => Error::NotFound {
                path: format!("{}/{name}", self.uri),
            },
            other => Error::storage(&self.uri, other),
        }
    }

    /// Copies a local file to the file `name`, completely or not at all. Progress counts
    /// bytes.
    pub async fn upload(
        &self,
        from: &std::path::Path,
        name: &str,
        progress: &Progress,
    ) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| Error::storage(&self.uri, e);
        let mut file = std::fs::File::open(from).map_err(|e| Error::io(from, e))?;
        progress.begin(file.metadata().map_err(|e| Error::io(from, e))?.len());
        let path = self.inside(name);
        let mut writer = self.store.create(&path).await.map_err(|e| failed(&e))?;
        let mut part = vec![0; 8 << 20];
        loop {
            let n = file.read(&mut part).map_err(|e| Error::io(from, e))?;
            if n == 0 {
                break;
            }
            writer.write_all(&part[..n]).await.map_err(|e| failed(&e))?;
            progress.add(n as u64);
        }
        Writer::shutdown(writer.as_mut())
            .await
            .map_err(|e| failed(&e))?;
        Ok(())
    }

    /// Writes the file `name` unless it exists; returns whether it did.
    pub(crate) async fn create(&self, name: &str, content: Vec<u8>) -> Result<bool> {
        let path = self.inside(name);
        match self.store.put_if_absent(&path, content.into()).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(object_store::Error::Precondition { .. }) => Ok(false),
            Err(e) => Err(Error::storage(&self.uri, &e)),
        }
    }

    /// The relative path and size of every file inside.
    pub async fn files(&self) -> Result<Vec<(String, u64)>> {
        let mut found = vec![];
        let mut listing = self.store.inner.list(Some(&self.path));
        while let Some(entry) = listing.next().await {
            let entry = match entry {
                Ok(entry) => entry,
                Err(object_store::Error::NotFound { .. }) => break,
                Err(e) => return Err(Error::storage(&self.uri, &e)),
            };
            let name = entry.location.as_ref();
            let name = name.strip_prefix(self.path.as_ref()).unwrap_or(name);
            found.push((name.trim_start_matches('/').to_owned(), entry.size));
        }
        Ok(found)
    }

    /// Names of the files directly inside the folder `name`.
    pub(crate) async fn names(&self, name: &str) -> Result<Vec<String>> {
        let prefix = self.inside(name);
        match self.store.inner.list_with_delimiter(Some(&prefix)).await {
            Ok(listed) => Ok(listed
                .objects
                .iter()
                .filter_map(|o| o.location.filename().map(str::to_owned))
                .collect()),
            Err(object_store::Error::NotFound { .. }) => Ok(vec![]),
            Err(e) => Err(Error::storage(&self.uri, &e)),
        }
    }

    /// Whether there is a dataset here, or a local file, or a folder that is
    /// not empty. Objects that an interrupted publication left on an object
    /// store do not count.
    pub async fn occupied(&self) -> Result<bool> {
        match self.local() {
            Some(folder) => Ok(folder.exists() && !is_empty(&folder)),
            None => Ok(self.read("config.json").await?.is_some()),
        }
    }

    /// Whether this is a local folder with content that is not a dataset.
    pub(crate) fn holds_other_files(&self) -> bool {
        let folder = self.local().filter(|folder| folder.is_dir());
        folder.is_some_and(|folder| !is_empty(&folder) && !folder.join("config.json").is_file())
    }

    /// Whether anything exists here.
    pub async fn exists(&self) -> Result<bool> {
        if let Some(folder) = self.local() {
            return Ok(folder.exists());
        }
        let mut listing = self.store.inner.list(Some(&self.path));
        match listing.next().await {
            None | Some(Err(object_store::Error::NotFound { .. })) => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(e)) => Err(Error::storage(&self.uri, &e)),
        }
    }

    pub(crate) async fn remove_file(&self, name: &str) -> Result<()> {
        match self.store.inner.delete(&self.inside(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(Error::storage(&self.uri, &e)),
        }
    }

    /// Removes the folder and its content.
    pub(crate) async fn remove(&self) -> Result<()> {
        if let Some(folder) = self.local() {
            return remove_folder(&folder).map_err(|e| Error::io(folder, e));
        }
        let files = self.files().await?;
        let remove = |(name, _): (String, u64)| {
            let here = self.clone();
            async move { here.remove_file(&name).await }
        };
        futures::stream::iter(files.into_iter().map(remove).collect::<Vec<_>>())
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Moves this folder to `target`, whose own files are removed. On a file
    /// system this is one rename. On an object store everything is copied;
    /// `config.json`, without which nothing can be opened, is removed first and
    /// written last.
    pub(crate) async fn replace(&self, target: &Self) -> Result<()> {
        if let (Some(from), Some(to)) = (self.local(), target.local()) {
            let old = from.with_extension("replaced");
            if to.exists() && !is_empty(&to) {
                std::fs::rename(&to, &old).map_err(|e| Error::io(&to, e))?;
            }
            std::fs::rename(&from, &to).map_err(|e| Error::io(&to, e))?;
            return remove_folder(&old).map_err(|e| Error::io(old, e));
        }
        target.remove_file("config.json").await?;
        target.remove().await?;
        let files = self.files().await?;
        let copy = |(name, _): (String, u64)| {
            let (from, to) = (self.clone(), target.clone());
            async move { from.copy(&name, &to).await }
        };
        let tables = files.into_iter().filter(|(name, _)| name != "config.json");
        futures::stream::iter(tables.map(copy).collect::<Vec<_>>())
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        if let Err(failure) = self.copy("config.json", target).await {
            // It may have succeeded, and only the response was lost.
            let (ours, theirs) = (
                self.read("config.json").await?,
                target.read("config.json").await?,
            );
            if ours != theirs {
                return Err(failure);
            }
        }
        // The dataset is complete; the next conversion removes what is left here.
        let _ = self.remove().await;
        Ok(())
    }

    async fn copy(&self, name: &str, target: &Self) -> Result<()> {
        self.store
            .inner
            .copy(&self.inside(name), &target.inside(name))
            .await
            .map_err(|e| Error::storage(&target.uri, &e))
    }

    fn inside(&self, name: &str) -> Path {
        raw(&format!("{}/{name}", self.path))
    }
}

/// A key without quoting: `Path::join` would quote characters that Lance does
/// not.
fn raw(key: &str) -> Path {
    Path::parse(key).unwrap_or_else(|_| Path::from(key))
}

fn params(options: &HashMap<String, String>, remote: bool) -> ObjectStoreParams {
    ObjectStoreParams {
        storage_options_accessor: (!options.is_empty())
            .then(|| Arc::new(StorageOptionsAccessor::with_static_options(options.clone()))),
        object_store_wrapper: remote.then(|| Arc::clone(&*RETRY) as _),
        ..ObjectStoreParams::default()
    }
}
