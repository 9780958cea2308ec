//! TLS: the server's certificate, who signs its clients' ones, and the name that a client's certificate proves.
//!
//! The proven name is the subject's common name if it has exactly one, else the first DNS name of the certificate. What makes
//! certificates for NBD (libnbd's, qemu's and nbdkit's manuals) writes the client's name into the common name; the other one is
//! for authorities that leave that empty. A name that is empty, longer than [`NAME_LENGTH_MAX`] or not plain text proves nothing.
//!
//! Not here: bytes on their way (`secured`), when TLS must be spoken (`handshake`), what a name opens (`peer`).
//!
//! Certificates are read once, at the start. Sessions are never resumed: a connection lives for days, so a full handshake costs
//! nothing, and each one has its certificate looked at.

use crate::peer::Origin;
use crate::secured::Secured;
use crate::socket::Socket;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc4519::CN;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// The longest name that is taken: the longest that DNS knows, and four times the bound on a common name in RFC 5280.
const NAME_LENGTH_MAX: usize = 255;
/// The largest file that is read: a bundle of every public authority is a quarter of it.
const FILE_MAX: u64 = 1 << 20;

/// How TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The server's certificate and those between it and its authority, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// The authorities that sign clients' certificates, in PEM. With them every client must show one; without, none proves a name.
    pub client_ca: Option<PathBuf>,
    /// Whether clients over TCP are served over TLS only.
    pub required_on_tcp: bool,
    /// Whether clients over the unix socket are served over TLS only.
    pub required_on_unix: bool,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {what} for NBD over TLS from {}; is it there, and may this process read it?", path.display())]
    File {
        /// What was to be in it.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} for NBD over TLS in PEM: {why}", path.display())]
    Content {
        /// What was to be in it.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate and the key do not do together.
    #[error("the certificate in {} and the key in {} cannot be used together for NBD over TLS: {why}", certificate.display(), key.display())]
    Pair {
        /// Where the certificate is.
        certificate: PathBuf,
        /// Where the key is.
        key: PathBuf,
        /// What stands in the way.
        why: String,
    },
}

/// TLS, ready to be spoken.
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    options: TlsOptions,
}

impl Tls {
    pub(crate) fn load(options: &TlsOptions) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pair = |why: rustls::Error| TlsError::Pair {
            certificate: options.certificate.clone(),
            key: options.key.clone(),
            why: why.to_string(),
        };
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(pair)?;
        let builder = match &options.client_ca {
            Some(path) => builder.with_client_cert_verifier(verifier(path, provider)?),
            None => builder.with_no_client_auth(),
        };
        let chain = certificates("certificate", &options.certificate)?;
        let mut config = builder.with_single_cert(chain, key(&options.key)?).map_err(pair)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), options: options.clone() })
    }

    /// Whether a client from there is served over TLS only.
    pub(crate) const fn is_required(&self, origin: Origin) -> bool {
        match origin {
            Origin::Tcp(_) => self.options.required_on_tcp,
            Origin::Unix(_) => self.options.required_on_unix,
        }
    }

    /// Shakes hands before the deadline. Gives the connection and the name that the client proved.
    pub(crate) fn accept(&self, plain: Arc<Socket>, deadline: Instant) -> io::Result<(Secured, Option<String>)> {
        let connection = rustls::ServerConnection::new(self.config.clone()).map_err(io::Error::other)?;
        let (secured, certificate) = Secured::accept(plain, connection, deadline)?;
        Ok((secured, certificate.as_deref().and_then(proven_name)))
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

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let what = "private key";
    let bytes = read(what, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| TlsError::Content { what, path: path.to_owned(), why: error.to_string() })
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|source| TlsError::File { what, path: path.to_owned(), source })
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
