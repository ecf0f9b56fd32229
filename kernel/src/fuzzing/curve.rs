//! Encrypted connections of a client that holds all the right keys, and sends data
//! that the fuzzer's input damages.

use std::io;

use bytes::Bytes;
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex, split};

use super::input::{Input, blocking};
use crate::transport::curve::{Keys, open, seal};
use crate::transport::handshake::shake_hands;
use crate::transport::zmtp::{COMMAND, LONG, MORE, Reader, Writer};
use crate::transport::zmtp::{read_frame, read_message, reader, writer};

const GREETING: usize = 64;
/// HELLO's name, version and padding, and INITIATE's name, end here; every byte
/// after them matters.
const HELLO: usize = 80;
const INITIATE: usize = 9;
/// The client's key, whose last bit is ignored, and its vouch.
const VOUCHED: usize = 32 + 16 + 80;

/// A client that damages an encrypted byte is rejected; everything else
/// arrives.
pub fn curve(bytes: &[u8]) {
    let server = SecretKey::from([7; 32]);
    let keys = Keys::new(&z85::encode(server.to_bytes())).expect("32 bytes are a key");
    let (near, far) = duplex(1 << 16);
    let (read, write) = split(far);
    let mut client = Client {
        input: Input(bytes),
        server: server.public_key(),
        spoiled: false,
        plain: true,
        sent: Vec::new(),
    };
    let (ended, heard) = blocking(async {
        tokio::join!(client.talk(near), serve(&keys, reader(read), writer(write)))
    });
    match heard {
        Some(messages) => {
            assert!(!client.spoiled);
            assert_eq!(messages, client.messages());
        }
        None => assert!(client.spoiled || !client.plain, "refused: {ended:?}"),
    }
}

async fn serve(keys: &Keys, mut read: Reader, mut write: Writer) -> Option<Vec<Vec<Bytes>>> {
    let greeted = shake_hands(&mut read, &mut write, "ROUTER", Some(keys)).await;
    let mut messages = Vec::new();
    if greeted.is_ok() {
        while let Ok(message) = read_message(&mut read).await {
            messages.push(message);
        }
    }
    greeted.ok().map(|_| messages)
}

struct Client<'a> {
    input: Input<'a>,
    server: PublicKey,
    /// The handshake had a wrong byte that must not be accepted.
    spoiled: bool,
    /// It had no other wrong bytes.
    plain: bool,
    /// Flags and frames that were sent undamaged.
    sent: Vec<(u8, Bytes)>,
}

impl Client<'_> {
    async fn talk(&mut self, stream: DuplexStream) -> io::Result<()> {
        let (read, write) = split(stream);
        let (mut read, mut write) = (reader(read), writer(write));
        let (secret, lasting) = (SecretKey::from([1; 32]), SecretKey::from([2; 32]));
        let mut greeting = [0; GREETING].to_vec();
        (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
        greeting[12..17].copy_from_slice(b"CURVE");
        self.spoil(&mut greeting);
        write.stream.write_all(&greeting).await?;
        tokio::io::AsyncReadExt::read_exact(&mut read.stream, &mut [0; GREETING]).await?;

        let first = SalsaBox::new(&self.server, &secret);
        let nonce = 1u64.to_be_bytes();
        let sealed = seal(&first, b"CurveZMQHELLO---", &nonce, &[0; 64])?;
        let key = secret.public_key().to_bytes();
        let mut hello = [b"\x05HELLO\x01\x00", &[0; 72][..], &key, &nonce, &sealed].concat();
        let whole = hello.clone();
        self.spoil(&mut hello);
        self.spoiled |= hello.get(HELLO..) != whole.get(HELLO..);
        frame(&mut write, COMMAND, &hello).await?;
        if greeting.len() != GREETING {
            // The server waits for more of it, or treats it as a frame.
            return Ok(());
        }

        let welcome = read_frame(&mut read).await?.1;
        let offer = open(&first, b"WELCOME-", &welcome[8..24], &welcome[24..])?;
        let (session, mut cookie) = (&offer[..32], offer[32..].to_vec());
        let between = SalsaBox::new(&PublicKey::from_slice(session).expect("a key"), &secret);
        let mut vouched = self.vouched(&lasting, &key, session)?;
        let whole = vouched.clone();
        self.spoil(&mut vouched);
        vouched.get_mut(31).into_iter().for_each(|b| *b &= 0x7f);
        self.spoiled |= vouched.get(..VOUCHED) != whole.get(..VOUCHED);
        let sealed = seal(&between, b"CurveZMQINITIATE", &nonce, &vouched)?;
        cookie.splice(0..0, *b"\x08INITIATE");
        let mut initiate = [&cookie, &nonce[..], &sealed].concat();
        let whole = initiate.clone();
        self.spoil(&mut initiate);
        self.spoiled |= initiate.get(INITIATE..) != whole.get(INITIATE..);
        frame(&mut write, COMMAND, &initiate).await?;

        let ready = read_frame(&mut read).await?.1;
        let told = open(&between, b"CurveZMQREADY---", &ready[6..14], &ready[14..])?;
        assert!(told.ends_with(b"\x0bSocket-Type\0\0\0\x06ROUTER"));
        self.say(&mut write, &between).await
    }

    /// Sends messages as the input says, up to the first damaged one.
    async fn say(&mut self, write: &mut Writer, between: &SalsaBox) -> io::Result<()> {
        let mut count = 1u64;
        while !self.input.is_empty() {
            count += 1 + u64::from(self.input.byte() >> 6);
            let (flags, body) = (self.input.byte(), self.input.piece());
            let plain = [&[flags], body].concat();
            let nonce = count.to_be_bytes();
            let sealed = seal(between, b"CurveZMQMESSAGEC", &nonce, &plain)?;
            let mut message = [b"\x07MESSAGE", &nonce[..], &sealed].concat();
            let whole = message.clone();
            self.spoil(&mut message);
            frame(write, 0, &message).await?;
            if message != whole {
                break;
            }
            self.sent.push((flags, Bytes::copy_from_slice(body)));
        }
        Ok(())
    }

    /// The client's long-term key, its vouch for the key of this connection,
    /// and properties.
    fn vouched(&mut self, lasting: &SecretKey, key: &[u8], session: &[u8]) -> io::Result<Vec<u8>> {
        let session = PublicKey::from_slice(session).expect("a key");
        let of = [key, self.server.as_bytes()].concat();
        let vouch = seal(
            &SalsaBox::new(&session, lasting),
            b"VOUCH---",
            &[5; 16],
            &of,
        )?;
        let lasting = lasting.public_key().to_bytes();
        let properties = self.input.piece();
        self.plain &= properties.is_empty();
        Ok([&lasting, &[5; 16][..], &vouch, properties].concat())
    }

    /// Changes, cuts, adds or replaces bytes; usually does nothing.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        let whole = bytes.clone();
        match self.input.byte() {
            1..=9 if !bytes.is_empty() => {
                let at = usize::from(self.input.byte()) % bytes.len();
                bytes[at] ^= self.input.byte();
            }
            10..=14 => bytes.truncate(self.input.byte().into()),
            15..=19 => bytes.extend(self.input.piece()),
            20..=24 => *bytes = self.input.piece().to_vec(),
            _ => {}
        }
        self.plain &= *bytes == whole;
    }

    /// The messages that the server should have received.
    fn messages(&self) -> Vec<Vec<Bytes>> {
        let (mut messages, mut frames) = (Vec::new(), Vec::new());
        for (flags, frame) in self.sent.iter().filter(|(flags, _)| flags & COMMAND == 0) {
            frames.push(frame.clone());
            if flags & MORE == 0 {
                messages.push(std::mem::take(&mut frames));
            }
        }
        messages
    }
}

async fn frame(write: &mut Writer, flags: u8, body: &[u8]) -> io::Result<()> {
    write.stream.write_all(&[flags | LONG]).await?;
    write
        .stream
        .write_all(&(body.len() as u64).to_be_bytes())
        .await?;
    write.stream.write_all(body).await
}
