//! Compiled crates for new sessions. What the first session's cargo made of the
//! data-sharing crate is kept in the user's cache, and copied to where the next
//! session's cargo looks. Cargo itself decides whether it is up to date.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The file that names the crate of a seed; the seed is kept as long as the
/// crate exists.
const OF: &str = "of";
const TARGET: &str = "target";

#[derive(Debug)]
pub(crate) struct Seed {
    /// The folder of the crate.
    of: PathBuf,
    kept: PathBuf,
}

impl Seed {
    /// The seed of the crate in a folder; `None` if the user has no home
    /// folder.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
        let mut hasher = DefaultHasher::new();
        folder.hash(&mut hasher);
        // By times alone, cargo may mistake files of another installation in the same place
        // for its own.
        let sources = fs::read_dir(folder.join("src"))
            .into_iter()
            .flatten()
            .flatten();
        let mut files: Vec<_> = sources.map(|file| file.path()).collect();
        files.extend(["Cargo.toml", "Cargo.lock"].map(|name| folder.join(name)));
        files.sort();
        for file in files {
            fs::read(file).unwrap_or_default().hash(&mut hasher);
        }
        let kept = cache
            .join("slaf")
            .join("rust")
            .join(format!("{:016x}", hasher.finish()));
        let of = folder.to_owned();
        Some(Self { of, kept })
    }

    /// Copies it to a session's folder, if it exists.
    pub(crate) fn plant(&self, session: &Path) {
        let target = session.join(TARGET);
        if copy(&self.kept.join(TARGET), &target).is_err() {
            // A partial copy could be mistaken for a complete one.
            _ = fs::remove_dir_all(target);
        }
    }

    /// Keeps what a session has compiled, unless it is what it started with;
    /// returns whether it did.
    pub(crate) fn keep(&self, session: &Path) -> io::Result<bool> {
        let target = session.join(TARGET);
        if libraries(&target)? == libraries(&self.kept.join(TARGET)).unwrap_or_default() {
            return Ok(false);
        }
        let all = self.kept.parent().ok_or(io::ErrorKind::NotFound)?;
        fs::create_dir_all(all)?;
        self.prune(all);
        // Sessions that start meanwhile see the old seed, none, or the complete new one.
        let new = tempfile::Builder::new().prefix("new-").tempdir_in(all)?;
        copy(&target, &new.path().join(TARGET))?;
        fs::write(new.path().join(OF), self.of.as_os_str().as_encoded_bytes())?;
        _ = fs::remove_dir_all(&self.kept);
        fs::rename(new.path(), &self.kept)?;
        Ok(true)
    }

    /// Removes the seeds of installations that were removed or changed.
    fn prune(&self, all: &Path) {
        for seed in fs::read_dir(all).into_iter().flatten().flatten() {
            let of = fs::read_to_string(seed.path().join(OF)).map(PathBuf::from);
            if of.is_ok_and(|of| of == self.of || !of.exists()) {
                _ = fs::remove_dir_all(seed.path());
            }
        }
    }
}

/// Copies files with their times, by which cargo decides what is up to date.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let (from, to) = (entry.path(), to.join(&name));
        if is_of_cells(&name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to)?;
            let time = entry.metadata()?.modified()?;
            File::options().write(true).open(&to)?.set_modified(time)?;
        }
    }
    Ok(())
}

/// Whether cargo compiled it for the cells, not for their dependencies.
fn is_of_cells(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let is = |start| name.starts_with(start);
    name == "incremental" || is("ctx-") || is("libctx") || is("ctx.") || is("libcode_")
}

/// The compiled libraries in a folder, with their times.
fn libraries(folder: &Path) -> io::Result<Vec<(PathBuf, SystemTime)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let entry = entry?;
            let path = entry.path();
            if is_of_cells(&entry.file_name()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|end| end == "rmeta" || end == "rlib")
            {
                let time = entry.metadata()?.modified()?;
                let place = path.strip_prefix(folder).unwrap_or(&path).to_owned();
                found.push((place, time));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_begins_with_what_another_compiled() {
        let cache = tempfile::tempdir().unwrap();
        let of = cache.path().join("crate");
        fs::create_dir(&of).unwrap();
        let seed = Seed {
            of,
            kept: cache.path().join("seeds").join("one"),
        };
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let deps = first.path().join("target/deps");
        fs::create_dir_all(&deps).unwrap();
        fs::write(deps.join("libslaf-1.rlib"), "compiled").unwrap();
        fs::write(deps.join("libctx.so"), "a cell").unwrap();

        seed.plant(second.path());
        assert!(!second.path().join("target").exists());

        assert!(seed.keep(first.path()).unwrap());
        assert!(!seed.keep(first.path()).unwrap());
        seed.plant(second.path());
        let planted = second.path().join("target");
        assert_eq!(
            libraries(&planted).unwrap(),
            libraries(&first.path().join("target")).unwrap()
        );
        assert_eq!(
            fs::read_to_string(planted.join("deps/libslaf-1.rlib")).unwrap(),
            "compiled"
        );
        assert!(!planted.join("deps/libctx.so").exists());
    }
}
