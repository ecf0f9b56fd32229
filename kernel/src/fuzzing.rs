//! What a fuzzer feeds (`kernel/fuzz`): each function takes any bytes, gives them
//! to one decoder, and panics where what comes out of it is wrong. Its corpus
//! is replayed by the tests below.

mod curve;
mod messages;
mod wire;

pub use curve::curve;
pub use messages::{connection, message, output};
pub use wire::{subscriptions, zmtp};

/// An input, taken piece by piece; past its end, all is zero or empty.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A piece with its length in front.
    fn piece(&mut self) -> &'a [u8] {
        let length = self.byte().into();
        self.bytes(length)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime needs no resources");
}

fn blocking<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(work))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn replay(target: &str, harness: impl Fn(&[u8])) {
        // When it runs: another checkout may have compiled this.
        let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let corpus = Path::new(&package).join("fuzz/corpus");
        let inputs = std::fs::read_dir(corpus.join(target)).unwrap();
        let mut count = 0;
        for input in inputs {
            harness(&std::fs::read(input.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 5, "the corpus of `{target}` has {count} inputs");
    }

    #[test]
    fn frames_of_the_corpus() {
        replay("zmtp", super::zmtp);
    }

    #[test]
    fn encrypted_conversations_of_the_corpus() {
        replay("curve", super::curve);
    }

    #[test]
    fn messages_of_the_corpus() {
        replay("message", super::message);
    }

    #[test]
    fn connection_files_of_the_corpus() {
        replay("connection", super::connection);
    }

    #[test]
    fn subscriptions_of_the_corpus() {
        replay("subscriptions", super::subscriptions);
    }

    #[test]
    fn output_of_the_corpus() {
        replay("output", super::output);
    }
}
