//! Tests of how much memory is reserved for what a stranger claims to send.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Remembers the largest piece that each thread has asked for.
struct Watched;

#[global_allocator]
static ALLOCATOR: Watched = Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(size: usize) {
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        unsafe { System.realloc(piece, layout, size) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        unsafe { System.dealloc(piece, layout) }
    }
}

/// The size of the largest piece of memory that `work` asks for, all of which
/// happens in this thread.
pub(super) fn largest_piece<F: Future>(work: F) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs no resources");
    LARGEST.set(0);
    runtime.block_on(work);
    LARGEST.get()
}

mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use zeromq::Socket;

    use super::super::router::Router;
    use super::super::zmtp::{COMMAND, LONG};
    use super::largest_piece;

    const CLAIMED: usize = 1 << 30;
    /// What a reader may ask for before it knows what comes.
    const USUAL: usize = 1 << 17;

    /// Greets, claims that a command of a GiB follows, and sends no more; ends when
    /// the listener has hung up.
    async fn claim(endpoint: &str) {
        let address = endpoint.trim_start_matches("tcp://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut said = vec![0u8; 64];
        (said[0], said[9], said[10]) = (0xff, 0x7f, 3);
        said[12..16].copy_from_slice(b"NULL");
        said.push(COMMAND | LONG);
        said.extend((CLAIMED as u64).to_be_bytes());
        stream.write_all(&said).await.unwrap();
        stream.shutdown().await.unwrap();
        // It may hang up with an error, too.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }

    #[test]
    fn our_listener_reserves_only_what_has_arrived() {
        let reserved = largest_piece(async {
            let router = Router::new(None);
            let endpoint = router.listen("tcp://127.0.0.1:0", |_, _| {}).await;
            claim(&endpoint.unwrap()).await;
        });
        assert!(reserved <= USUAL, "it reserved {reserved} bytes");
    }

    /// A reason for a transport of our own. When this fails, zeromq has mended it:
    /// see "Why not a ZeroMQ library" in `docs/kernel.md`.
    #[test]
    fn the_listener_of_zeromq_reserves_what_a_stranger_claims() {
        let reserved = largest_piece(async {
            let mut router = zeromq::RouterSocket::new();
            let endpoint = router.bind("tcp://127.0.0.1:0").await.unwrap();
            claim(&endpoint.to_string()).await;
        });
        assert!(reserved >= CLAIMED, "it reserved only {reserved} bytes");
    }
}
