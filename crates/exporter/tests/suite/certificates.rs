//! Certificates made for a test, in the files and under the names that libnbd and qemu look for.

use exporter::{TlsOptions, TlsProof};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// An authority, and what it signed.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "the test's authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate, folder: tempfile::tempdir().unwrap() }
    }

    /// The server's own options: clients must show certificates of this authority.
    pub(crate) fn server(&self) -> TlsOptions {
        let folder = self.sign("server", "the test's server", ExtendedKeyUsagePurpose::ServerAuth);
        let file = |name: &str| folder.join(name);
        options(file("server-cert.pem"), file("server-key.pem"), Some(file("ca-cert.pem")))
    }

    /// The folder of a client that proves `name`.
    pub(crate) fn client(&self, name: &str) -> PathBuf {
        self.sign("client", name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// The folder of a client that knows the authority and proves nothing.
    pub(crate) fn stranger(&self) -> PathBuf {
        let folder = self.folder.path().join("stranger");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca-cert.pem"), &self.certificate).unwrap();
        folder
    }

    /// The folder of a client that knows this authority, with a certificate of `other`'s.
    pub(crate) fn client_of(&self, other: &Self, name: &str) -> PathBuf {
        let folder = other.client(name);
        std::fs::write(folder.join("ca-cert.pem"), &self.certificate).unwrap();
        folder
    }

    /// A connection of that client's, without libnbd: for saying what libnbd would not.
    pub(crate) fn connection(&self, name: &str) -> ClientConnection {
        let folder = self.client(name);
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let certificates = |name: &str| CertificateDer::pem_slice_iter(&read(name)).collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(&read("client-key.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates("ca-cert.pem"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(roots).with_client_auth_cert(certificates("client-cert.pem"), key).unwrap();
        ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
    }

    fn sign(&self, role: &str, name: &str, purpose: ExtendedKeyUsagePurpose) -> PathBuf {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::ExplicitNoCa;
        // qemu asks for both.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![purpose];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let folder = self.folder.path().join(format!("{role}-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca-cert.pem"), &self.certificate).unwrap();
        std::fs::write(folder.join(format!("{role}-cert.pem")), certificate).unwrap();
        std::fs::write(folder.join(format!("{role}-key.pem")), key.serialize_pem()).unwrap();
        folder
    }
}

/// The URI with where the client finds its certificates, as libnbd reads it.
pub(crate) fn with(uri: &str, folder: &Path) -> String {
    let mark = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{mark}tls-certificates={}", folder.display())
}

/// Options that require TLS over TCP.
pub(crate) fn options(certificate: PathBuf, key: PathBuf, client_ca: Option<PathBuf>) -> TlsOptions {
    let proof = TlsProof::Certificates { certificate, key, client_ca };
    TlsOptions { proof, required_on_tcp: true, required_on_unix: false }
}
