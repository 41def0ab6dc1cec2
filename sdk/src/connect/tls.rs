//! What TLS connections trust, and who they say they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::file;
use crate::variable;

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
    /// A PEM file with the authorities to trust, instead of the system's.
    pub ca: Option<PathBuf>,
    /// A PEM file with the client's certificate chain.
    pub cert: Option<PathBuf>,
    /// A PEM file with the client's key.
    pub key: Option<PathBuf>,
    /// Do not verify the server at all.
    pub insecure: bool,
}

impl TlsOptions {
    /// The configuration of a client.
    ///
    /// Trusted are the authorities of `ca`, else of `SSL_CERT_FILE`, else of the system's bundle,
    /// else (an image without one) those of Mozilla's list that are compiled in.
    ///
    /// # Errors
    /// One line that names the file that can't be used, and why.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = if self.insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let config = match (&self.cert, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let key_der = PrivateKeyDer::from_pem_slice(&file::read(key, MAX_PEM_BYTES)?)
                    .map_err(|e| format!("key_file={}: {e}", key.display()))?;
                builder
                    .with_client_auth_cert(chain, key_der)
                    .map_err(|e| format!("cert={}: {e}", cert.display()))?
            }
            (Some(_), None) => return Err("cert= needs key_file= beside it".to_owned()),
            (None, Some(_)) => return Err("key_file= needs cert= beside it".to_owned()),
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        let named = self
            .ca
            .clone()
            .or_else(|| variable::read("SSL_CERT_FILE").map(PathBuf::from));
        let system = || {
            SYSTEM_BUNDLES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.is_file())
        };
        match named.or_else(system) {
            Some(path) => {
                let (added, _) = roots.add_parsable_certificates(certificates(&path)?);
                if added == 0 {
                    return Err(format!("{}: no usable certificate in it", path.display()));
                }
            }
            None => roots
                .roots
                .extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        Ok(roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&file::read(path, MAX_PEM_BYTES)?)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// Accepts any certificate; signatures are still checked, so that the peer holds its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
