//! TLS: how it is configured, and when it must be spoken.
//!
//! Not here: certificates and the names they prove (`x509`), pre-shared keys (`psk`), bytes on their way (`secured`), what a name opens (`peer`).

use crate::peer::Origin;
use crate::secured::Secured;
use crate::socket::Socket;
use crate::x509::Certificates;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The largest file that is read: a bundle of every public authority is a quarter of it.
const FILE_MAX: u64 = 1 << 20;

/// How TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// What the server and its clients show each other.
    pub proof: TlsProof,
    /// Whether clients over TCP are served over TLS only.
    pub required_on_tcp: bool,
    /// Whether clients over the unix socket are served over TLS only.
    pub required_on_unix: bool,
}

/// What the server and its clients show each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsProof {
    /// Certificates. A client's name is its certificate's common name if it has exactly one, else its first DNS name.
    Certificates {
        /// The server's certificate and those between it and its authority, in PEM.
        certificate: PathBuf,
        /// Its private key, in PEM.
        key: PathBuf,
        /// The authorities that sign clients' certificates, in PEM. With them every client must show one; without, none proves a
        /// name.
        client_ca: Option<PathBuf>,
    },
    /// Pre-shared keys, in a file of lines `name:key` with the key in hexadecimal, as `psktool` and qemu have it. A client's name is
    /// that of its key. Needs the cargo feature `tls-psk`.
    SharedKeys(PathBuf),
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
    #[error("{} holds no {what} for NBD over TLS: {why}", path.display())]
    Content {
        /// What was to be in it.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// This program cannot do it.
    #[error(
        "cannot use the pre-shared keys in {} for NBD over TLS: this program was built without the feature tls-psk; build it with, or use certificates",
        path.display()
    )]
    NotBuilt {
        /// Where the keys are.
        path: PathBuf,
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
    means: Means,
    required_on_tcp: bool,
    required_on_unix: bool,
}

enum Means {
    Certificates(Certificates),
    #[cfg(feature = "tls-psk")]
    SharedKeys(crate::psk::SharedKeys),
}

impl Tls {
    pub(crate) fn load(options: &TlsOptions) -> Result<Self, TlsError> {
        let means = match &options.proof {
            TlsProof::Certificates { certificate, key, client_ca } => {
                Means::Certificates(Certificates::load(certificate, key, client_ca.as_deref())?)
            }
            #[cfg(feature = "tls-psk")]
            TlsProof::SharedKeys(path) => Means::SharedKeys(crate::psk::SharedKeys::load(path)?),
            #[cfg(not(feature = "tls-psk"))]
            TlsProof::SharedKeys(path) => return Err(TlsError::NotBuilt { path: path.clone() }),
        };
        Ok(Self { means, required_on_tcp: options.required_on_tcp, required_on_unix: options.required_on_unix })
    }

    /// Whether a client from there is served over TLS only.
    pub(crate) const fn is_required(&self, origin: Origin) -> bool {
        match origin {
            Origin::Tcp(_) => self.required_on_tcp,
            Origin::Unix(_) => self.required_on_unix,
        }
    }

    /// Shakes hands before the deadline. Gives the connection and the name that the client proved.
    pub(crate) fn accept(&self, plain: Arc<Socket>, deadline: Instant) -> io::Result<(Secured, Option<String>)> {
        match &self.means {
            Means::Certificates(certificates) => certificates.accept(plain, deadline),
            #[cfg(feature = "tls-psk")]
            Means::SharedKeys(keys) => keys.accept(plain, deadline),
        }
    }
}

/// Reads a file whole, up to [`FILE_MAX`].
pub(crate) fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|source| TlsError::File { what, path: path.to_owned(), source })
}
