//! A certificate authority for tests, and what it signs; certificates that sign themselves.
//!
//! Files are PEM, keys ECDSA P-256 unless said otherwise, in a temporary directory that lives as long as anything made from it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
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

use crate::servers::openssl::openssl;

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

/// What `openssl` makes and signs with its own key, all of them for the name `localhost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfSigned {
    /// The name is in the subject only, as `openssl req -x509 -subj /CN=localhost` leaves it.
    CommonNameOnly,
    /// X.509 version 1, which has no extensions, as `openssl x509 -req -signkey` leaves it.
    Version1,
    /// An RSA key of 1024 bits.
    Rsa1024,
    /// An ECDSA key of P-521.
    P521,
    /// An authority for names below `elsewhere` only.
    Constrained,
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

impl ServerIdentity {
    /// A certificate that signs itself and is an authority, as `openssl req -x509` makes them. Who
    /// trusts it is given the certificate itself.
    pub fn self_signed(names: &[&str]) -> Self {
        Self::sign_itself(Ca::for_server(names))
    }

    /// The same, which ended in the year 2001.
    pub fn expired_self_signed(names: &[&str]) -> Self {
        Self::sign_itself(Ca::expired(names))
    }

    fn sign_itself(mut params: CertificateParams) -> Self {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let dir = TempDir::with_prefix("rp-tls-").expect("a temporary directory");
        let key = KeyPair::generate().expect("a key pair");
        let certificate = params.self_signed(&key).expect("a certificate");
        let made = Self::in_dir(dir);
        fs::write(&made.cert, certificate.pem()).expect("the directory is ours");
        fs::write(&made.key, key.serialize_pem()).expect("the directory is ours");
        made
    }

    /// One that rcgen does not make.
    ///
    /// # Panics
    /// When `openssl` is missing or refuses.
    pub fn by_openssl(kind: SelfSigned) -> Self {
        let made = Self::in_dir(TempDir::with_prefix("rp-tls-").expect("a temporary directory"));
        let key: &[&str] = match kind {
            SelfSigned::Rsa1024 => &["rsa:1024"],
            SelfSigned::P521 => &["ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
            SelfSigned::CommonNameOnly | SelfSigned::Version1 | SelfSigned::Constrained => {
                &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            }
        };
        let mut request = openssl();
        request.args(["req", "-nodes", "-subj", "/CN=localhost", "-newkey"]);
        request.args(key).arg("-keyout").arg(&made.key);
        match kind {
            SelfSigned::CommonNameOnly => {
                request.arg("-x509").arg("-out").arg(&made.cert);
                succeed(&mut request);
            }
            SelfSigned::Rsa1024 | SelfSigned::P521 | SelfSigned::Constrained => {
                request.args(["-x509", "-addext", "subjectAltName=DNS:localhost"]);
                if kind == SelfSigned::Constrained {
                    request.args([
                        "-addext",
                        "nameConstraints=critical,permitted;DNS:elsewhere",
                    ]);
                }
                request.arg("-out").arg(&made.cert);
                succeed(&mut request);
            }
            SelfSigned::Version1 => {
                let csr = made.cert.with_extension("csr");
                request.arg("-new").arg("-out").arg(&csr);
                succeed(&mut request);
                let mut sign = openssl();
                sign.args(["x509", "-req", "-in"]).arg(&csr);
                sign.arg("-signkey").arg(&made.key);
                sign.arg("-out").arg(&made.cert);
                succeed(&mut sign);
            }
        }
        made
    }

    fn in_dir(dir: TempDir) -> Self {
        let cert = dir.path().join("self.cert.pem");
        Self {
            key: dir.path().join("self.key.pem"),
            ca: cert.clone(),
            cert,
            _dir: Arc::new(dir),
        }
    }
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("openssl starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
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
        self.sign_server(Self::expired(names))
    }

    /// A server whose certificate begins in the year 2100.
    pub fn future_server(&self, names: &[&str]) -> ServerIdentity {
        let mut params = Self::for_server(names);
        params.not_before = date_time_ymd(2100, 1, 1);
        params.not_after = date_time_ymd(2101, 1, 1);
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

    fn expired(names: &[&str]) -> CertificateParams {
        let mut params = Self::for_server(names);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        params
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
