use std::sync::Arc;

use rustls::{InconsistentKeys, PeerMisbehaved};

use super::*;

fn day(secs: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(secs))
}

fn misnamed(presented: &[&str]) -> Error {
    CertificateError::NotValidForNameContext {
        expected: ServerName::try_from("cache").unwrap().to_owned(),
        presented: presented.iter().map(ToString::to_string).collect(),
    }
    .into()
}

fn of_webpki(e: webpki::Error) -> Error {
    CertificateError::Other(OtherError(Arc::new(e))).into()
}

#[test]
fn truth_table_of_certificates() {
    let (now, then) = (day(1_800_000_000), day(978_307_200));
    let expired = CertificateError::ExpiredContext {
        time: now,
        not_after: then,
    };
    let early = CertificateError::NotValidYetContext {
        time: then,
        not_before: now,
    };
    for (e, want) in [
        (
            CertificateError::UnknownIssuer.into(),
            "unknown issuer: name the file of the authority to trust with ca=",
        ),
        (
            of_webpki(webpki::Error::CaUsedAsEndEntity),
            "unknown issuer: the certificate is an authority's own, but not the one in ca=",
        ),
        (
            of_webpki(webpki::Error::UnsupportedCertVersion),
            "the certificate is of X.509 version 1, which only insecure accepts",
        ),
        (
            of_webpki(webpki::Error::NameConstraintViolation),
            "the certificate can't be used: name constraint violation",
        ),
        (expired.into(), "certificate expired on 2001-01-01"),
        (early.into(), "certificate not valid before 2027-01-15"),
        (
            misnamed(&["DnsName(\"db\")", "IpAddress(10.1.2.3)"]),
            "certificate not valid for name cache, but for db, 10.1.2.3: set server_name=",
        ),
        (
            misnamed(&["DnsName(\"a\")"; 5]),
            "certificate not valid for name cache, but for a, a, a and 2 more: set server_name=",
        ),
        (
            misnamed(&["DirectoryName"]),
            "certificate not valid for name cache, since it holds none",
        ),
        (
            CertificateError::BadSignature.into(),
            "the certificate's signature is wrong: of another authority of that name, or by an RSA key \
             below 2048 bits",
        ),
        (
            CertificateError::InvalidPurpose.into(),
            "the certificate is not meant for a server",
        ),
        (
            CertificateError::BadEncoding.into(),
            "the certificate can't be used: bad encoding",
        ),
    ] {
        assert_eq!(words(&e, false), want, "{e:?}");
    }
}

#[test]
fn truth_table_of_refusals() {
    use AlertDescription as Alert;
    let with_certificate = |why| format!("the server refuses the certificate in cert=: {why}");
    let breaks_off = |why| format!("the server breaks off: {why}");
    let handshake = "the server refuses the handshake: no cipher or kind of certificate in common, or \
                     it asks for a client certificate (cert= and key_file=)";
    for (alert, without, with) in [
        (
            Alert::CertificateRequired,
            NO_CLIENT_CERTIFICATE.to_owned(),
            NO_CLIENT_CERTIFICATE.to_owned(),
        ),
        (
            Alert::BadCertificate,
            NO_CLIENT_CERTIFICATE.to_owned(),
            with_certificate("bad certificate"),
        ),
        (
            Alert::UnknownCA,
            breaks_off("unknown CA"),
            with_certificate("unknown CA"),
        ),
        (
            Alert::HandshakeFailure,
            handshake.to_owned(),
            breaks_off("handshake failure"),
        ),
        (
            Alert::ProtocolVersion,
            NO_VERSION.to_owned(),
            NO_VERSION.to_owned(),
        ),
        (
            Alert::InternalError,
            breaks_off("internal error"),
            breaks_off("internal error"),
        ),
        (
            Alert::UnrecognisedName,
            "the server does not know the name that it is asked for: set server_name=".to_owned(),
            "the server does not know the name that it is asked for: set server_name=".to_owned(),
        ),
    ] {
        let e = Error::AlertReceived(alert);
        assert_eq!(words(&e, false), without, "{alert:?}");
        assert_eq!(words(&e, true), with, "{alert:?}");
    }
}

#[test]
fn truth_table_of_protocols() {
    for (e, want) in [
        (
            Error::NoCertificatesPresented,
            "the server shows no certificate",
        ),
        (
            PeerIncompatible::ServerDoesNotSupportTls12Or13.into(),
            NO_VERSION,
        ),
        (
            PeerIncompatible::NoCipherSuitesInCommon.into(),
            "the server can't do what is needed: no cipher suites in common",
        ),
        (InvalidMessage::InvalidContentType.into(), NOT_TLS),
        (
            InvalidMessage::InvalidEmptyPayload.into(),
            "the server sends garbage: invalid empty payload",
        ),
        (
            PeerMisbehaved::InvalidKeyShare.into(),
            "the server breaks the protocol: invalid key share",
        ),
    ] {
        assert_eq!(words(&e, false), want, "{e:?}");
    }
}

#[test]
fn truth_table_of_our_own_certificate() {
    for (e, want) in [
        (
            InconsistentKeys::KeyMismatch.into(),
            "it does not belong to the key in key_file=",
        ),
        (
            of_webpki(webpki::Error::UnsupportedCertVersion),
            "it is not an X.509 certificate of version 3",
        ),
        (
            Error::General("failed to parse private key".to_owned()),
            "failed to parse private key",
        ),
    ] {
        assert_eq!(of_ours(&e), want, "{e:?}");
    }
}

#[test]
fn what_a_certificate_says_is_one_short_line() {
    let long = format!("DnsName(\"a\u{1b}[31m\n{}\")", "b".repeat(999));
    let said = words(&misnamed(&[&long]), false);
    assert!(said.len() < 200, "{said}");
    assert!(!said.contains(char::is_control), "{said:?}");
}

#[test]
fn only_errors_of_tls_are_explained() {
    let wrapped = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            Error::from(CertificateError::UnknownIssuer),
        )
    };
    let said = "TLS: unknown issuer: name the file of the authority to trust with ca=";
    assert_eq!(explain(&wrapped(), false).as_deref(), Some(said));
    let twice = io::Error::other(wrapped());
    assert_eq!(explain(&twice, false).as_deref(), Some(said));
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(explain(&reset, false), None);
    assert_eq!(explain(&io::Error::other("else"), false), None);
}
