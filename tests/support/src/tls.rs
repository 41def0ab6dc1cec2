//! A certificate authority for tests, and what it signs.
//!
//! Files are PEM, keys ECDSA P-256, in a temporary directory that lives as long as anything made from it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// An authority that nobody trusts but who is given its certificate.
#[derive(Debug)]
pub struct Ca {
    dir: Arc<TempDir>,
    issuer: Issuer<'static, KeyPair>,
    path: PathBuf,
    issued: AtomicUsize,
}

/// What a server shows: paths of PEM files.
#[derive(Debug, Clone)]
pub struct ServerIdentity {
    /// Its certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The certificate of who signed it.
    pub ca: PathBuf,
    _dir: Arc<TempDir>,
}

/// What a client shows: paths of PEM files.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// Its certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The certificate of who signed it.
    pub ca: PathBuf,
    _dir: Arc<TempDir>,
}

impl Ca {
    /// A new authority. Two of them don't trust each other.
    #[expect(
        clippy::new_without_default,
        reason = "making keys and files is no default"
    )]
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("rp-tls-").expect("a temporary directory");
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "ready-probe test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key pair");
        let certificate = params.self_signed(&key).expect("a certificate");
        let path = dir.path().join("ca.pem");
        fs::write(&path, certificate.pem()).expect("the directory is ours");
        Self {
            dir: Arc::new(dir),
            issuer: Issuer::new(params, key),
            path,
            issued: AtomicUsize::new(0),
        }
    }

    /// Its certificate, for those who are to trust it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A server of these names and addresses, as in `["localhost", "127.0.0.1"]`.
    pub fn server(&self, names: &[&str]) -> ServerIdentity {
        self.sign_server(Self::for_server(names))
    }

    /// A server whose certificate ended in the year 2001.
    pub fn expired_server(&self, names: &[&str]) -> ServerIdentity {
        let mut params = Self::for_server(names);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign_server(params)
    }

    /// A client of this name.
    pub fn client(&self, name: &str) -> ClientIdentity {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a DNS name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (cert, key) = self.sign(params);
        ClientIdentity {
            cert,
            key,
            ca: self.path.clone(),
            _dir: Arc::clone(&self.dir),
        }
    }

    fn for_server(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("DNS names or addresses");
        params
            .distinguished_name
            .push(DnType::CommonName, "ready-probe test server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params
    }

    fn sign_server(&self, params: CertificateParams) -> ServerIdentity {
        let (cert, key) = self.sign(params);
        ServerIdentity {
            cert,
            key,
            ca: self.path.clone(),
            _dir: Arc::clone(&self.dir),
        }
    }

    fn sign(&self, mut params: CertificateParams) -> (PathBuf, PathBuf) {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key pair");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let cert_path = self.dir.path().join(format!("{number}.cert.pem"));
        let key_path = self.dir.path().join(format!("{number}.key.pem"));
        fs::write(&cert_path, certificate.pem()).expect("the directory is ours");
        fs::write(&key_path, key.serialize_pem()).expect("the directory is ours");
        (cert_path, key_path)
    }
}
