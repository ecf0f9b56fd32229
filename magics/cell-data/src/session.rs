//! The functions that a cell calls.

use std::os::fd::{BorrowedFd, RawFd};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema};
use memmap2::MmapOptions;

use crate::channel::ask;
use crate::layout::{Shared, open};
use crate::memory::announce;
use crate::{Csr, Error, Result};

/// The variable with the descriptor of the host's page of flags.
const FLAGS: &str = "SLAF_CELL_FLAGS";

/// Reads a variable of the session as a batch: a Polars, pandas or Arrow frame,
/// the result of a `%%sql` cell, a Series or 1-d array, or an attribute such as
/// `adata.obs`.
///
/// Text is `Utf8View`, categories are dictionaries with `u32` keys, lists are
/// `LargeList`. What was shared before is not copied. A Polars frame that was
/// not is moved to shared memory, which both languages then use.
///
/// # Errors
///
/// The variable does not exist, or is none of these.
pub fn get(name: &str) -> Result<RecordBatch> {
    let (head, columns) = answer("get", name)?;
    let [rows] = head.as_slice() else {
        return Err(Error("The session's answer cannot be read.".into()));
    };
    batch(*rows, columns)
}

/// Reads a sparse matrix of the session in CSR format: a scipy CSR matrix, or
/// the X of a handle (`adata` or `adata.X`), which is read for this.
///
/// # Errors
///
/// The variable does not exist, or is not such a matrix.
pub fn csr(name: &str) -> Result<Csr> {
    let (head, columns) = answer("csr", name)?;
    let [rows, columns_of_x] = head.as_slice() else {
        return Err(Error("The session's answer cannot be read.".into()));
    };
    Csr::new((*rows, *columns_of_x), &columns)
}

/// Makes a batch a `polars.DataFrame` in Python and a table in SQL, with this
/// name. Its columns are copied to shared memory once, unless they came from
/// there.
///
/// # Errors
///
/// The name is not valid for a variable, or there is not enough memory.
pub fn put(name: &str, batch: RecordBatch) -> Result<()> {
    let (schema, columns, rows) = batch.into_parts();
    let mut shared = Shared::default();
    let names = schema.fields().iter().map(|field| field.name().clone());
    // A column that has no other owner is freed once it is copied.
    shared.add_all(names.zip(columns))?;
    let request = format!("put {name}\n{rows}\n{}", shared.text);
    let (text, _) = ask(&request, &shared.files)?;
    checked(&text).map(drop)
}

/// Whether the user asked the running cell to stop. A cell that checks this
/// regularly, and ends, keeps its variables; otherwise it is killed one second
/// later.
pub fn cancelled() -> bool {
    static FLAG: OnceLock<Option<memmap2::MmapRaw>> = OnceLock::new();
    let flag = FLAG.get_or_init(|| {
        let fd: RawFd = std::env::var(FLAGS).ok()?.parse().ok()?;
        // SAFETY: the process inherited it and never closes it.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        MmapOptions::new().len(1).map_raw_read_only(&fd).ok()
    });
    flag.as_ref().is_some_and(|flag| {
        // SAFETY: the page is mapped as long as the process lives.
        unsafe { AtomicU8::from_ptr(flag.as_mut_ptr()) }.load(Ordering::Relaxed) != 0
    })
}

/// The host calls this before the first cell: cells learn of each other's
/// mappings, and panics print their message without a position in generated
/// code.
#[doc(hidden)]
pub fn begin() {
    announce();
    panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let message = panic.payload_as_str().unwrap_or("a value that is no text");
        match panic.location() {
            Some(place) if !place.file().ends_with("src/lib.rs") => {
                eprintln!("panicked at {}:{}: {message}", place.file(), place.line())
            }
            _ => eprintln!("panicked: {message}"),
        }
    }));
}

type Answer = (Vec<usize>, Vec<(String, ArrayRef)>);

/// The numbers in the first line of an answer, and its columns.
fn answer(verb: &str, name: &str) -> Result<Answer> {
    let (text, files) = ask(&format!("{verb} {name}"), &[])?;
    let text = checked(&text)?;
    let (head, columns) = text.split_once('\n').unwrap_or((text, ""));
    let head = head
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    Ok((head, open(columns, &files)?))
}

/// The text after `ok `; any other answer is an error message.
fn checked(text: &str) -> Result<&str> {
    match text.split_once(' ') {
        Some(("ok", rest)) => Ok(rest),
        Some(("error", message)) => Err(Error(message.to_owned())),
        _ => Err(Error("The session ended.".into())),
    }
}

fn batch(rows: usize, columns: Vec<(String, ArrayRef)>) -> Result<RecordBatch> {
    let (fields, columns): (Vec<_>, Vec<_>) = columns
        .into_iter()
        .map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array))
        .unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}
