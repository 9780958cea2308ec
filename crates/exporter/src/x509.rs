//! TLS with certificates, by rustls: the server's own, who signs its clients' ones, and the name that one of these proves.
//!
//! The proven name is the subject's common name if it has exactly one, else the first DNS name of the certificate. What makes
//! certificates for NBD (libnbd's, qemu's and nbdkit's manuals) writes the client's name into the common name; the other one is
//! for authorities that leave that empty. A name that is empty, longer than [`NAME_LENGTH_MAX`] or not plain text proves nothing.
//!
//! Certificates are read once, at the start. Sessions are never resumed: a connection lives for days, so a full handshake costs
//! nothing, and each one has its certificate looked at.

use crate::secured::{Engine, Secured, Timed};
use crate::socket::Socket;
use crate::tls::{TlsError, read};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc4519::CN;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// The longest name that is taken: the longest that DNS knows, and four times the bound on a common name in RFC 5280.
const NAME_LENGTH_MAX: usize = 255;

/// Certificates, ready to be shown and verified.
pub(crate) struct Certificates(Arc<ServerConfig>);

impl Certificates {
    pub(crate) fn load(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pair =
            |why: rustls::Error| TlsError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), why: why.to_string() };
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(pair)?;
        let builder = match client_ca {
            Some(path) => builder.with_client_cert_verifier(verifier(path, provider)?),
            None => builder.with_no_client_auth(),
        };
        let chain = certificates("certificate", certificate)?;
        let mut config = builder.with_single_cert(chain, private_key(key)?).map_err(pair)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands before the deadline. Gives the connection and the name that the client proved.
    pub(crate) fn accept(&self, plain: Arc<Socket>, deadline: Instant) -> io::Result<(Secured, Option<String>)> {
        let mut connection = ServerConnection::new(self.0.clone()).map_err(io::Error::other)?;
        connection.complete_io(&mut Timed::new(&plain, Some(deadline)))?;
        if connection.is_handshaking() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let name = connection.peer_certificates().and_then(<[_]>::first).and_then(|certificate| proven_name(certificate));
        Ok((Secured::new(plain, Box::new(connection), deadline), name))
    }
}

impl Engine for ServerConnection {
    fn decrypt(&mut self, received: &mut &[u8], buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(Some),
            }
            if received.is_empty() {
                return Ok(None);
            }
            if self.read_tls(received)? == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    fn encrypt(&mut self, buffer: &[u8], sending: &mut Vec<u8>) -> io::Result<usize> {
        let count = self.writer().write(buffer)?;
        while self.wants_write() {
            self.write_tls(sending)?;
        }
        Ok(count)
    }
}

/// What demands a certificate of every client, signed by one of the authorities in that file.
fn verifier(path: &Path, provider: Arc<rustls::crypto::CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    const WHAT: &str = "certificate of an authority";
    let wrong = |why: String| TlsError::Content { what: WHAT, path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(WHAT, path)? {
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    built.map_err(|error: VerifierBuilderError| wrong(error.to_string()))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::Content { what, path: path.to_owned(), why };
    let bytes = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("there is no certificate in it".into())) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let what = "private key";
    let bytes = read(what, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| TlsError::Content { what, path: path.to_owned(), why: error.to_string() })
}

/// The name that a verified certificate proves, if any: see the module's head.
fn proven_name(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let name = common_name(&certificate).or_else(|| dns_name(&certificate))?;
    let is_plain = !name.is_empty() && name.len() <= NAME_LENGTH_MAX && !name.chars().any(char::is_control);
    is_plain.then_some(name)
}

fn common_name(certificate: &Certificate) -> Option<String> {
    let mut names = certificate.tbs_certificate().subject().iter().filter(|attribute| attribute.oid == CN);
    match (names.next(), names.next()) {
        (Some(only), None) => only.value.decode_as::<DirectoryString>().ok().map(String::from),
        _ => None,
    }
}

fn dns_name(certificate: &Certificate) -> Option<String> {
    let (_, names) = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok()??;
    names.0.iter().find_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    fn name_of(common: &[&str], dns: &[&str]) -> Option<String> {
        let mut params = CertificateParams::new(dns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
        params.distinguished_name = DistinguishedName::new();
        for (place, name) in common.iter().enumerate() {
            // rcgen holds one of a kind, and writes a custom one as it is told.
            let kind = if place == 0 { DnType::CommonName } else { DnType::CustomDnType(vec![2, 5, 4, 3]) };
            params.distinguished_name.push(kind, *name);
        }
        let key = KeyPair::generate().expect("a key");
        proven_name(params.self_signed(&key).expect("a certificate").der())
    }

    #[test]
    fn the_common_name_is_proven_or_else_the_first_dns_name() {
        let long = "n".repeat(NAME_LENGTH_MAX + 1);
        let rows: [(&[&str], &[&str], Option<&str>); 8] = [
            (&["db-1"], &[], Some("db-1")),
            (&["db-1"], &["db-2.example"], Some("db-1")),
            (&[], &["db-2.example", "db-3.example"], Some("db-2.example")),
            (&["db-1", "db-2"], &["db-3.example"], Some("db-3.example")),
            (&["db-1", "db-2"], &[], None),
            (&[], &[], None),
            (&["db\n1"], &[], None),
            (&[&long], &[], None),
        ];
        for (common, dns, expected) in rows {
            assert_eq!(name_of(common, dns).as_deref(), expected, "{common:?} {dns:?}");
        }
        assert_eq!(proven_name(b"no certificate"), None);
    }
}
