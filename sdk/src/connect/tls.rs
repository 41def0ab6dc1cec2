//! What TLS connections trust, and who they say they are.

mod insecure;
mod verify;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use self::insecure::Unverified;
use self::verify::Verifier;
pub use self::words::explain;
use super::file;
use crate::trimmed_variable;

/// Where the images people build on keep their certificate authorities.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A system's whole bundle of authorities takes a tenth of this.
const MAX_PEM_BYTES: u64 = 2 * 1024 * 1024;

/// How to speak TLS with a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// A PEM file with the authorities to trust, instead of the system's. A server's own certificate
    /// in it is trusted by itself.
    pub ca: Option<PathBuf>,
    /// A PEM file with the client's certificate chain.
    pub cert: Option<PathBuf>,
    /// A PEM file with the client's key.
    pub key: Option<PathBuf>,
    /// Do not verify the server at all.
    pub insecure: bool,
    /// Which name the server's certificate must have.
    pub name: CertificateName,
}

/// Which name a server's certificate must have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CertificateName {
    /// The host of the address.
    #[default]
    OfAddress,
    /// This one; the server is asked for it (SNI) as well, where the connection is ours.
    Given(ServerName<'static>),
    /// Any.
    Any,
}

/// Parses the name that a certificate must have.
///
/// # Errors
/// What it must be.
pub fn server_name(text: &str) -> Result<CertificateName, String> {
    ServerName::try_from(text.to_owned())
        .map(CertificateName::Given)
        .map_err(|_| "a server_name is a host name or an address".to_owned())
}

impl TlsOptions {
    /// The file with the authorities, if there is one.
    fn authorities(&self) -> Option<PathBuf> {
        let of_environment = || trimmed_variable::read("SSL_CERT_FILE").map(PathBuf::from);
        self.ca.clone().or_else(of_environment)
    }

    /// The files that [`TlsOptions::client_config`] reads or looks for.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = [&self.cert, &self.key]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        match (self.insecure, self.authorities()) {
            (true, _) => {}
            (false, Some(authorities)) => files.push(authorities),
            (false, None) => files.extend(SYSTEM_BUNDLES.map(PathBuf::from)),
        }
        files
    }

    /// The configuration of a client.
    ///
    /// Trusted are the authorities of `ca`, else of `SSL_CERT_FILE`, else of the system's bundle,
    /// else (an image without one) those of Mozilla's list that are compiled in.
    ///
    /// # Errors
    /// One line that names the file that can't be used, and why.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, String> {
        let mut provider = rustls::crypto::ring::default_provider();
        let verifier: Arc<dyn ServerCertVerifier> = if self.insecure {
            insecure::offer_more(&mut provider);
            Arc::new(Unverified::new(&provider))
        } else {
            Arc::new(Verifier {
                roots: trusted(self.authorities())?,
                name: self.name.clone(),
                algorithms: provider.signature_verification_algorithms,
            })
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match (&self.cert, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                if chain.is_empty() {
                    return Err(format!("cert={}: it holds no certificate", cert.display()));
                }
                let key = private_key(key)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| format!("cert={}: {}", cert.display(), words::of_ours(&e)))?
            }
            (Some(_), None) => return Err("cert= needs key_file= beside it".to_owned()),
            (None, Some(_)) => return Err("key_file= needs cert= beside it".to_owned()),
        };
        Ok(Arc::new(config))
    }

    /// What a report must say about a server that was believed without being fully verified.
    #[must_use]
    pub fn caveat(&self) -> Option<&'static str> {
        match (self.insecure, &self.name) {
            (true, _) => Some("certificate not verified"),
            (false, CertificateName::Any) => Some("host name not verified"),
            (false, CertificateName::OfAddress | CertificateName::Given(_)) => None,
        }
    }
}

/// The certificates of the named file, or of the first place that has some. A round parses them once: a
/// system's bundle costs as much as several handshakes.
fn trusted(named: Option<PathBuf>) -> Result<Arc<RootCertStore>, String> {
    let system = || {
        SYSTEM_BUNDLES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.is_file())
    };
    let bundle = named.or_else(system);
    #[cfg(feature = "open")]
    return super::looked_up_once::authorities(bundle.as_deref(), authorities_in);
    #[cfg(not(feature = "open"))]
    authorities_in(bundle.as_deref())
}

/// Those of a file, or those that are compiled in.
fn authorities_in(bundle: Option<&Path>) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    match bundle {
        Some(path) => {
            let (added, _) = roots.add_parsable_certificates(certificates(path)?);
            if added == 0 {
                return Err(format!(
                    "{}: it holds no usable certificate",
                    path.display()
                ));
            }
        }
        None => roots
            .roots
            .extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    Ok(Arc::new(roots))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&file::read(path, MAX_PEM_BYTES)?).map_err(|e| {
        let why = match e {
            pem::Error::NoItemsFound => "it holds no private key, or an encrypted one".to_owned(),
            e => e.to_string(),
        };
        format!("key_file={}: {why}", path.display())
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&file::read(path, MAX_PEM_BYTES)?)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{}: {e}", path.display()))
}
