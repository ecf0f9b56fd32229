//! Targets of the fuzzer (`kernel/fuzz`). Each function passes arbitrary bytes to
//! one decoder, and panics if the result is wrong. The tests below replay the
//! corpus.

mod curve;
mod input;
mod messages;
mod wire;

pub use curve::curve;
pub use messages::{connection, message, output};
pub use wire::{subscriptions, zmtp};

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn replay(target: &str, harness: impl Fn(&[u8])) {
        // Read at run time, because another checkout may have compiled this.
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
