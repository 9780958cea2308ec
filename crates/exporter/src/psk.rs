//! TLS with pre-shared keys, by the system's OpenSSL: what GnuTLS clients such as libnbd and qemu do without certificates.
//!
//! In a feature of its own, `tls-psk`, as rustls has no external pre-shared keys and OpenSSL is a library in C that a build and a host
//! must have. The proven name is the key's.
//!
//! The file is that of GnuTLS's `psktool` and of qemu: a line `name:key` for each, the key in hexadecimal. It is read once, at the
//! start, and its keys are never printed.
//!
//! Invariants:
//! - only suites with forward secrecy and authenticated encryption are spoken, so a key that leaks later opens no old recording;
//! - sessions are never resumed, so that each connection proves its key anew;
//! - an unknown name fails as a wrong key does, so that nobody learns which names there are.

use crate::secured::{Engine, Secured, Timed};
use crate::socket::Socket;
use crate::tls::{TlsError, read};
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::rand::rand_bytes;
use openssl::ssl::{
    ErrorCode, HandshakeError, Ssl, SslContext, SslMethod, SslOptions, SslRef, SslSessionCacheMode, SslStream, SslVersion,
};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What is spoken over TLS 1.2, which the NBD protocol document asks for: the suites with pre-shared keys and forward secrecy
/// that are authenticated encryption.
const SUITES_12: &str = "ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:DHE-PSK-AES128-GCM-SHA256";
/// What is spoken over TLS 1.3: external keys are for SHA-256 unless agreed otherwise. Source: RFC 8446, section 4.2.11.
const SUITES_13: &str = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
/// The shortest key: 128 bits cannot be guessed. `psktool` makes 256.
const KEY_BYTES_MIN: usize = 16;
/// The longest key: the most that OpenSSL takes over TLS 1.2.
const KEY_BYTES_MAX: usize = 256;
/// The longest name: the most that OpenSSL takes over TLS 1.2 is 128.
const NAME_LENGTH_MAX: usize = 128;
/// How much is encrypted at once: what rustls does.
const PIECE: usize = 64 << 10;
/// How much may wait to be sent that nobody asked us to write, as answers to a peer's new keys: thousands of them.
const UNASKED_MAX: usize = 64 << 10;

type Keys = BTreeMap<String, Vec<u8>>;

/// Keys, ready to be proven.
pub(crate) struct SharedKeys {
    context: SslContext,
    /// Where a handshake keeps the name whose key it used.
    name: Index<Ssl, String>,
}

impl SharedKeys {
    pub(crate) fn load(path: &Path) -> Result<Self, TlsError> {
        const WHAT: &str = "pre-shared keys";
        let wrong = |why: String| TlsError::Content { what: WHAT, path: path.to_owned(), why };
        let text = String::from_utf8(read(WHAT, path)?).map_err(|_| wrong("it is not text".into()))?;
        let keys = parse(&text).map_err(wrong)?;
        let name = Ssl::new_ex_index().map_err(|error| wrong(error.to_string()))?;
        let context = context(keys, name).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { context, name })
    }

    /// Shakes hands before the deadline. Gives the connection and the name that the client proved.
    pub(crate) fn accept(&self, plain: Arc<Socket>, deadline: Instant) -> io::Result<(Secured, Option<String>)> {
        let ssl = Ssl::new(&self.context).map_err(io::Error::other)?;
        let stream = shake(ssl, &mut Timed::new(&plain, Some(deadline)))?;
        let name = stream.ssl().ex_data(self.name).cloned();
        Ok((Secured::new(plain, Box::new(stream), deadline), name))
    }
}

/// Reads the lines of a file of keys. What is wrong with it is told by the line's number, never by what is in it.
fn parse(text: &str) -> Result<Keys, String> {
    let mut keys = Keys::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |why: &str| format!("line {}: {why}", number + 1);
        let (name, key) = line.trim().split_once(':').ok_or_else(|| at("it is not a name, a colon and a key"))?;
        if name.is_empty() || name.len() > NAME_LENGTH_MAX || name.starts_with('#') || name.chars().any(char::is_control) {
            return Err(at("its name is empty, longer than 128 bytes, begins with # or is not plain text"));
        }
        let key = unhex(key).ok_or_else(|| at("its key is not in hexadecimal"))?;
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(at("its key is shorter than 16 bytes or longer than 256"));
        }
        if keys.insert(name.to_owned(), key).is_some() {
            return Err(at("its name is there already"));
        }
    }
    if keys.is_empty() { Err("there is no key in it".into()) } else { Ok(keys) }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn context(keys: Keys, name: Index<Ssl, String>) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls_server())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list(SUITES_12)?;
    builder.set_ciphersuites(SUITES_13)?;
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
    builder.set_num_tickets(0)?;
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_psk_server_callback(move |ssl, identity, secret| choose(&keys, name, ssl, identity, secret));
    Ok(builder.build())
}

/// Puts the key of the client's name into `secret`, or one that nobody has. Gives its length.
fn choose(
    keys: &Keys,
    index: Index<Ssl, String>,
    ssl: &mut SslRef,
    identity: Option<&[u8]>,
    secret: &mut [u8],
) -> Result<usize, ErrorStack> {
    let named = identity.and_then(|identity| std::str::from_utf8(identity).ok()).and_then(|name| keys.get_key_value(name));
    let Some((name, key)) = named.filter(|(_, key)| key.len() <= secret.len()) else {
        let length = secret.len().min(KEY_BYTES_MIN);
        rand_bytes(&mut secret[..length])?;
        return Ok(length);
    };
    secret[..key.len()].copy_from_slice(key);
    ssl.set_ex_data(index, name.clone());
    Ok(key.len())
}

/// Ciphertext between OpenSSL and the socket.
#[derive(Default)]
struct Wire {
    received: Vec<u8>,
    sending: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.received.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.received.len());
        buffer[..count].copy_from_slice(&self.received[..count]);
        self.received.drain(..count);
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn shake(ssl: Ssl, socket: &mut Timed<'_>) -> io::Result<SslStream<Wire>> {
    let mut result = ssl.accept(Wire::default());
    loop {
        let mut waiting = match result {
            Ok(mut stream) => {
                socket.write_all(&std::mem::take(&mut stream.get_mut().sending))?;
                return Ok(stream);
            }
            Err(HandshakeError::WouldBlock(waiting)) => waiting,
            Err(HandshakeError::Failure(mut failed)) => {
                // The alert that says why; that it may not arrive changes nothing.
                let _ = socket.write_all(&failed.get_mut().sending);
                return Err(io::Error::new(io::ErrorKind::InvalidData, failed.into_error()));
            }
            Err(HandshakeError::SetupFailure(error)) => return Err(io::Error::other(error)),
        };
        let wire = waiting.get_mut();
        socket.write_all(&std::mem::take(&mut wire.sending))?;
        let mut bytes = [0; 4096];
        match socket.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => wire.received.extend_from_slice(&bytes[..count]),
        }
        result = waiting.handshake();
    }
}

impl Engine for SslStream<Wire> {
    fn decrypt(&mut self, received: &mut &[u8], buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.get_mut().received.extend_from_slice(received);
        *received = &[];
        let read = match self.ssl_read(buffer) {
            Ok(count) => Some(count),
            Err(error) if error.code() == ErrorCode::WANT_READ => None,
            Err(error) if error.code() == ErrorCode::ZERO_RETURN => Some(0),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        if self.get_ref().sending.len() > UNASKED_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(read)
    }

    fn encrypt(&mut self, buffer: &[u8], sending: &mut Vec<u8>) -> io::Result<usize> {
        let piece = &buffer[..buffer.len().min(PIECE)];
        let count = if piece.is_empty() { 0 } else { self.ssl_write(piece).map_err(io::Error::other)? };
        sending.append(&mut self.get_mut().sending);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_psktool_writes_them() {
        let key = "00112233445566778899aAbBcCdDeEfF";
        let keys = parse(&format!("db-1:{key}\n\ndb-2:{key}{key}\n")).expect("two keys");
        assert_eq!((keys["db-1"].len(), keys["db-2"].len()), (16, 32));
        assert_eq!(keys["db-1"][..3], [0x00, 0x11, 0x22]);
        let long = "n".repeat(NAME_LENGTH_MAX + 1);
        let wrong = [
            String::new(),
            "db-1".to_owned(),
            format!(":{key}"),
            format!("#6462:{key}"),
            format!("{long}:{key}"),
            format!("db-1:{key}0"),
            format!("db-1:{}", &key[2..]),
            format!("db-1:{}", "zz".repeat(16)),
            format!("db-1:{key}\ndb-1:{key}"),
        ];
        for text in wrong {
            let why = parse(&text).expect_err(&text);
            assert!(!why.contains(&key[4..]), "a key was told: {why}");
        }
    }
}
