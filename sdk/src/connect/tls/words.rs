//! What is wrong with TLS, in words, and with the option that mends it.

use std::error::Error as StdError;
use std::fmt::{Debug, Write};
use std::io;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible,
};

use crate::signal::clean;

/// How many names of a certificate are quoted, and how much of each.
const MAX_NAMES: usize = 3;
const MAX_NAME_CHARS: usize = 40;

const NO_CLIENT_CERTIFICATE: &str =
    "the server asks for a client certificate: set cert= and key_file=";
const NO_VERSION: &str = "the server speaks neither TLS 1.2 nor 1.3";
const NOT_TLS: &str = "the server does not speak TLS on this port";

/// What to say of an error of TLS; `None` if it is another one. `shows` is whether the client has a
/// certificate to show.
#[must_use]
pub fn explain(e: &(dyn StdError + 'static), shows: bool) -> Option<String> {
    let mut next = Some(e);
    while let Some(e) = next {
        if let Some(e) = e.downcast_ref::<Error>() {
            return Some(format!("TLS: {}", words(e, shows)));
        }
        // An I/O error does not name what it wraps among its sources.
        next = match e.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => e.source(),
        };
    }
    None
}

pub(super) fn words(e: &Error, shows: bool) -> String {
    match e {
        Error::InvalidCertificate(e) => certificate(e),
        Error::AlertReceived(alert) => refusal(*alert, shows),
        Error::NoCertificatesPresented => "the server shows no certificate".to_owned(),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => NO_VERSION.to_owned(),
        Error::PeerIncompatible(why) => {
            format!("the server can't do what is needed: {}", spaced(why))
        }
        Error::PeerMisbehaved(why) => format!("the server breaks the protocol: {}", spaced(why)),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => NOT_TLS.to_owned(),
        Error::InvalidMessage(what) => format!("the server sends garbage: {}", spaced(what)),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the server breaks the protocol: unexpected message".to_owned()
        }
        Error::General(said) => said.clone(),
        Error::Other(e) => e.to_string(),
        other => other.to_string(),
    }
}

/// What is wrong with the client's own certificate.
pub(super) fn of_ours(e: &Error) -> String {
    match e {
        Error::InconsistentKeys(_) => "it does not belong to the key in key_file=".to_owned(),
        Error::InvalidCertificate(_) => "it is not an X.509 certificate of version 3".to_owned(),
        Error::General(said) => said.clone(),
        other => other.to_string(),
    }
}

fn certificate(e: &CertificateError) -> String {
    match e {
        CertificateError::UnknownIssuer => {
            "unknown issuer: name the file of the authority to trust with ca=".to_owned()
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("certificate expired on {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("certificate not valid before {}", date(*not_before))
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => misnamed(expected, presented),
        CertificateError::BadSignature => {
            "the certificate's signature is wrong: of another authority of that name, or by an RSA key \
             below 2048 bits"
                .to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the certificate's kind of key or signature can't be verified".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not meant for a server".to_owned()
        }
        CertificateError::Other(e) if is_of_an_authority(e) => {
            "unknown issuer: the certificate is an authority's own, but not the one in ca=".to_owned()
        }
        CertificateError::Other(e) => other(e),
        rest => format!("the certificate can't be used: {}", spaced(rest)),
    }
}

fn other(e: &OtherError) -> String {
    match e.0.downcast_ref() {
        Some(webpki::Error::UnsupportedCertVersion) => {
            "the certificate is of X.509 version 1, which only insecure accepts".to_owned()
        }
        Some(why) => format!("the certificate can't be used: {}", spaced(why)),
        None => format!("the certificate can't be used: {e}"),
    }
}

fn misnamed(expected: &ServerName<'_>, presented: &[String]) -> String {
    let expected = expected.to_str();
    let all = names(presented);
    if all.is_empty() {
        return format!("certificate not valid for name {expected}, since it holds none");
    }
    let some: Vec<String> = all
        .iter()
        .take(MAX_NAMES)
        .map(|name| clean(name, MAX_NAME_CHARS))
        .collect();
    let more = match all.len().saturating_sub(MAX_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let some = some.join(", ");
    format!("certificate not valid for name {expected}, but for {some}{more}: set server_name=")
}

/// Those of a certificate's names that count. webpki writes them `DnsName("localhost")` and
/// `IpAddress(10.1.2.3)`.
pub(super) fn names(presented: &[String]) -> Vec<&str> {
    presented
        .iter()
        .filter_map(|name| {
            let name = name
                .strip_prefix("DnsName(")
                .or_else(|| name.strip_prefix("IpAddress("))?;
            Some(name.strip_suffix(')').unwrap_or(name).trim_matches('"'))
        })
        .collect()
}

/// Whether webpki refuses a certificate since it is an authority's own.
pub(super) fn is_of_an_authority(e: &OtherError) -> bool {
    matches!(e.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// A server that wants a certificate and gets none says so in its own way: `certificate_required` since
/// TLS 1.3 (RFC 8446, 6.2), `handshake_failure` before (RFC 5246, 7.4.6), and Go `bad_certificate`.
fn refusal(alert: AlertDescription, shows: bool) -> String {
    match alert {
        AlertDescription::CertificateRequired => NO_CLIENT_CERTIFICATE.to_owned(),
        AlertDescription::BadCertificate if !shows => NO_CLIENT_CERTIFICATE.to_owned(),
        AlertDescription::HandshakeFailure if !shows => {
            "the server refuses the handshake: no cipher or kind of certificate in common, or it asks \
             for a client certificate (cert= and key_file=)"
                .to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::DecryptError
            if shows =>
        {
            format!("the server refuses the certificate in cert=: {}", spaced(&alert))
        }
        AlertDescription::ProtocolVersion => NO_VERSION.to_owned(),
        AlertDescription::UnrecognisedName => {
            "the server does not know the name that it is asked for: set server_name=".to_owned()
        }
        alert => format!("the server breaks off: {}", spaced(&alert)),
    }
}

/// `HandshakeFailure` is `handshake failure`, and `UnknownCA` is `unknown CA`.
fn spaced(value: &impl Debug) -> String {
    let name = format!("{value:?}");
    let mut text = String::new();
    let mut letters = name.chars().peekable();
    let mut before = None;
    while let Some(letter) = letters.next() {
        let next_is_small = letters.peek().is_some_and(char::is_ascii_lowercase);
        let begins = letter.is_ascii_uppercase()
            && before.is_none_or(|before: char| before.is_ascii_lowercase() || next_is_small);
        if begins && before.is_some_and(|before| before.is_ascii_alphanumeric()) {
            text.push(' ');
        }
        if begins && next_is_small {
            text.push(letter.to_ascii_lowercase());
        } else {
            text.push(letter);
        }
        before = Some(letter);
    }
    text
}

/// `2001-01-01`, in UTC.
fn date(time: UnixTime) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    let mut text = String::new();
    match time.map(|time| write!(text, "{}", humantime::format_rfc3339_seconds(time))) {
        Some(Ok(())) => text.chars().take(10).collect(),
        // Beyond the year 9999, which no certificate can say (RFC 5280, 4.1.2.5).
        Some(Err(_)) | None => "an unknown day".to_owned(),
    }
}

#[cfg(test)]
mod tests;
