//! Tests how much memory a listener reserves when a peer announces a large frame:
//! ours, and that of zeromq.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeromq::Socket;

use super::allocations::largest_piece;
use super::router::Router;
use super::zmtp::{COMMAND, LONG};

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

/// A reason for a transport of our own, which ends when this fails.
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
