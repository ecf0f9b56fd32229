//! Logs rejected messages, at most a few lines of each kind per second. Anybody can
//! send any number of them, and they must not fill the disk.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::signer::WireError;
use crate::process::log::log;

const SPAN: Duration = Duration::from_secs(1);
/// Log lines of one kind in that time.
const MOST: usize = 20;

#[derive(Default)]
pub(crate) struct Refusals {
    /// For each kind: the start of the period, and the number of lines.
    counts: Mutex<HashMap<Discriminant<WireError>, (Instant, usize)>>,
}

impl Refusals {
    pub(crate) fn tell(&self, refused: &WireError) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = (Instant::now(), 0);
        let (since, count) = counts.entry(discriminant(refused)).or_insert(new);
        if since.elapsed() > SPAN {
            if *count > MOST {
                log(&format!("refused {} more like this:", *count - MOST));
            }
            (*since, *count) = new;
        }
        *count += 1;
        if *count <= MOST {
            log(&format!("refused {refused}"));
        }
    }
}
