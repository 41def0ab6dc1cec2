//! A TLS client to try the fixtures with.

use std::{net::TcpStream, path::Path, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use crate::tls::ClientIdentity;

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// The handshake itself happens with the first read or write, and so do its errors.
pub(crate) fn tls_client(
    stream: TcpStream,
    name: &str,
    ca: &Path,
    identity: Option<&ClientIdentity>,
) -> TlsStream {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let certificates = vec![CertificateDer::from_pem_file(&identity.cert).unwrap()];
            config
                .with_client_auth_cert(
                    certificates,
                    PrivateKeyDer::from_pem_file(&identity.key).unwrap(),
                )
                .unwrap()
        }
    };
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(
        ClientConnection::new(Arc::new(config), name).unwrap(),
        stream,
    )
}
