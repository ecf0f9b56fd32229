//! Tests how much memory a listener reserves when a peer announces a large frame:
//! ours, and that of zeromq.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeromq::Socket;

use super::counting_allocator::largest_piece;
use super::router::Router;
use super::zmtp::{COMMAND, LONG};

const CLAIMED: usize = 1 << 30;
/// Bytes that a reader may allocate before any data has arrived.
const USUAL: usize = 1 << 17;

/// Sends a greeting, announces a command of 1 GiB, and sends nothing more. Ends
/// when the listener closes the connection.
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
    // The listener may also close the connection with an error.
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

/// One reason for writing our own transport. It no longer holds when this test
/// fails.
#[test]
fn the_listener_of_zeromq_reserves_what_a_stranger_claims() {
    let reserved = largest_piece(async {
        let mut router = zeromq::RouterSocket::new();
        let endpoint = router.bind("tcp://127.0.0.1:0").await.unwrap();
        claim(&endpoint.to_string()).await;
    });
    assert!(
        reserved >= CLAIMED,
        "it reserved only {reserved} bytes: look again at `Why not a ZeroMQ library` in docs/kernel.md"
    );
}
