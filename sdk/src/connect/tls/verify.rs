//! Which servers are believed: for their authority, or for their very certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use webpki::{EndEntityCert, anchor_from_trusted_cert};

use super::CertificateName;
use super::words::{is_of_an_authority, names};

/// Believes a server whose certificate an authority has signed, or whose certificate is named
/// itself.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) name: CertificateName,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        address: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let cert = ParsedCertificate::try_from(shown)?;
        let is_named = is_among(&self.roots, shown);
        if is_named {
            verify_by_itself(&cert, now, self.algorithms)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &cert,
                &self.roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        let name = match &self.name {
            CertificateName::OfAddress => address,
            CertificateName::Given(name) => name,
            CertificateName::Any => return Ok(ServerCertVerified::assertion()),
        };
        match verify_server_name(&cert, name) {
            Err(e) if !(is_named && has_no_names(&e) && is_common_name(shown, name)) => Err(e),
            Err(_) | Ok(()) => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a server shows one of the trusted certificates: the same subject and the same key, whose
/// holder may sign for any name. A trusted certificate that is for some names only does not cover
/// others of the same key.
fn is_among(roots: &RootCertStore, shown: &CertificateDer<'_>) -> bool {
    anchor_from_trusted_cert(shown)
        .is_ok_and(|anchor| anchor.name_constraints.is_none() && roots.roots.contains(&anchor))
}

/// A certificate that needs no issuer, since it is trusted itself: its dates hold, and it is well
/// formed.
///
/// webpki looks at these first, and only then at whether an authority shows its own certificate,
/// which is what `openssl req -x509` makes, and at the issuers (verify_cert.rs,
/// `check_issuer_independent_properties`). Without any issuer it gets no further.
fn verify_by_itself(
    cert: &ParsedCertificate<'_>,
    now: UnixTime,
    algorithms: WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let nobody = RootCertStore::empty();
    let verified =
        verify_server_cert_signed_by_trust_anchor(cert, &nobody, &[], now, algorithms.all);
    match verified {
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Ok(()),
        Err(Error::InvalidCertificate(CertificateError::Other(e))) if is_of_an_authority(&e) => {
            Ok(())
        }
        other => other,
    }
}

fn has_no_names(e: &Error) -> bool {
    match e {
        Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented, ..
        }) => names(presented).is_empty(),
        _ => false,
    }
}

/// Whether the subject of a certificate has this common name. If there is no other name, OpenSSL,
/// and so curl and Python, look there (X509_check_host(3)); webpki never does.
fn is_common_name(cert: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let (Ok(cert), ServerName::DnsName(name)) = (EndEntityCert::try_from(cert), name) else {
        return false;
    };
    common_names(cert.subject())
        .iter()
        .any(|found| found.eq_ignore_ascii_case(name.as_ref().as_bytes()))
}

/// The object identifier of commonName, 2.5.4.3 (RFC 5280, appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// A subject is a sequence of sets of pairs: an object identifier and a text (RFC 5280, 4.1.2.4).
fn common_names(mut subject: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((mut set, rest)) = element(subject) {
        while let Some((pair, others)) = element(set) {
            if let Some((COMMON_NAME, text)) = element(pair)
                && let Some((text, _)) = element(text)
            {
                found.push(text);
            }
            set = others;
        }
        subject = rest;
    }
    found
}

/// The contents of the first DER element, and what follows it. Nothing in a subject reaches 64 KiB.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    match der {
        [_, length @ ..=0x7f, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [_, 0x81, length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [_, 0x82, high, low, rest @ ..] => {
            rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_are_found_and_nothing_is_made_of_garbage() {
        // C=DE, CN=cache
        let subject = b"\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02DE\
                        \x31\x0e\x30\x0c\x06\x03\x55\x04\x03\x0c\x05cache";
        assert_eq!(common_names(subject), [b"cache"]);
        for end in 0..subject.len() {
            assert!(common_names(&subject[..end]).is_empty(), "{end}");
        }
        for garbage in [&b"\x31"[..], b"\x31\x84\xff\xff\xff\xff", b"\x31\x82\xff"] {
            assert!(common_names(garbage).is_empty(), "{garbage:?}");
        }
    }
}
