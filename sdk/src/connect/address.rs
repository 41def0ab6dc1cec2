//! Splitting a server address into its parts: `scheme://[user:password@]host[:port],…[/path][?query]`.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::{Endpoint, Secret};
use crate::{Error, ErrorKind, Result};

/// What replaces a secret.
pub const HIDDEN: &str = "***";

/// An address in parts, percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The scheme, lower case.
    pub scheme: String,
    /// The user, if there is one.
    pub user: Option<String>,
    /// The password, if there is one.
    pub password: Option<Secret>,
    /// Every server it names; at least one.
    pub endpoints: Vec<Endpoint>,
    /// The path without its leading slash.
    pub path: String,
    /// The query's pairs.
    pub query: Vec<(String, String)>,
}

/// Parses an address, or a comma-separated list of addresses of one service. The credentials, path
/// and query of a list are those of the first element that has them.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`]. The message never quotes the address: it may hold a secret.
pub fn parse(text: &str, default_port: u16) -> Result<Address> {
    let mut whole: Option<Address> = None;
    for element in elements(text) {
        let scheme = whole.as_ref().map(|first| first.scheme.clone());
        let part = parse_one(&element, scheme.as_deref(), default_port)?;
        match &mut whole {
            None => whole = Some(part),
            Some(first) => {
                if part.scheme != first.scheme {
                    return Err(invalid("all servers of a list must have the same scheme"));
                }
                if first.user.is_none() && first.password.is_none() {
                    first.user = part.user;
                    first.password = part.password;
                }
                if first.path.is_empty() {
                    first.path = part.path;
                } else if !part.path.is_empty() && part.path != first.path {
                    return Err(invalid("all servers of a list must have the same path"));
                }
                if first.query.is_empty() {
                    first.query = part.query;
                }
                first.endpoints.extend(part.endpoints);
            }
        }
    }
    whole.ok_or_else(|| invalid("it is empty"))
}

/// The scheme of an address, or of a list's first element, lower case. Empty if there is none.
pub(super) fn scheme(text: &str) -> String {
    let (scheme, _) = text.trim_start().split_once("://").unwrap_or_default();
    scheme.to_ascii_lowercase()
}

/// Splits a list at its commas, but not within a query, nor behind a part that is no address by
/// itself: then the comma belongs to a password.
fn elements(text: &str) -> Vec<String> {
    let (addresses, query) = match text.find('?') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let mut elements: Vec<String> = Vec::new();
    let mut scheme: Option<String> = None;
    for piece in addresses.split(',') {
        match elements.last_mut() {
            Some(last) if piece.contains('@') && parse_one(last, scheme.as_deref(), 1).is_err() => {
                last.push(',');
                last.push_str(piece);
            }
            Some(_) | None => {
                let piece = piece.trim();
                if scheme.is_none() {
                    scheme = piece.split_once("://").map(|(scheme, _)| scheme.to_owned());
                }
                elements.push(piece.to_owned());
            }
        }
    }
    if let Some(last) = elements.last_mut() {
        last.push_str(query);
    }
    elements
}

fn parse_one(text: &str, scheme: Option<&str>, default_port: u16) -> Result<Address> {
    let with_scheme;
    let text = match scheme {
        Some(scheme) if !text.contains("://") => {
            // StackExchange's form: host:6379,password=…,ssl=False.
            if text
                .split('?')
                .next()
                .is_some_and(|member| member.contains('='))
            {
                return Err(invalid(
                    "a server in a list can't hold =: options go into the query, and = in a \
                     password is written %3D",
                ));
            }
            with_scheme = format!("{scheme}://{text}");
            &with_scheme
        }
        Some(_) | None => text,
    };
    if has_slash_in_password(text) {
        return Err(invalid("a / in a password is written %2F"));
    }
    // A URL parser drops line ends and tabs, wherever they stand.
    if text.contains(char::is_control) {
        return Err(invalid("it holds a control character, such as a line end"));
    }
    let url = Url::parse(text).map_err(|e| invalid(&why_no_url(text, &e)))?;
    if url.scheme().contains("unix") {
        return unix(&url);
    }
    let host = match url.host() {
        Some(Host::Ipv6(ip)) => ip.to_string(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Domain(name)) => decode(name)?,
        None => String::new(),
    };
    check_host(&host)?;
    check_query(&url)?;
    let port = url.port_or_known_default().unwrap_or(default_port);
    if port == 0 {
        return Err(invalid("port 0 can't be connected to"));
    }
    Ok(Address {
        scheme: url.scheme().to_owned(),
        user: user(&url)?,
        password: password(&url)?,
        endpoints: vec![Endpoint::Tcp { host, port }],
        path: decode(url.path().trim_start_matches('/'))?,
        query: query(&url),
    })
}

/// Refuses what no resolver should be asked for: it may be part of a password.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`]; the message never quotes the host.
pub fn check_host(host: &str) -> Result<()> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_foreign = |c: char| is_name(c) || c.is_alphanumeric();
    if host.is_empty() {
        return Err(invalid("it names no host"));
    }
    if host.chars().all(is_name) || host.parse::<Ipv6Addr>().is_ok() {
        return Ok(());
    }
    if host.chars().all(is_foreign) {
        return Err(invalid(NO_ASCII));
    }
    Err(invalid(HOST_RULE))
}

const HOST_RULE: &str = "a host is letters, digits, '.', '-' and '_'; what else belongs to a \
                         password is percent-encoded";
const NO_ASCII: &str =
    "a host with letters beyond ASCII is written in Punycode, beginning with xn--";

/// Why a text is no URL.
#[must_use]
pub fn why_no_url(text: &str, e: &url::ParseError) -> String {
    match e {
        url::ParseError::IdnaError if text.is_ascii() => HOST_RULE.to_owned(),
        // The tables for it would be a thirtieth of the probe.
        url::ParseError::IdnaError => NO_ASCII.to_owned(),
        e => e.to_string(),
    }
}

/// To a URL parser, `redis://user:12?34@host` names the host `user`, the port 12 and a query.
fn check_query(url: &Url) -> Result<()> {
    let is_pair = |pair: &str| match pair.split_once('=') {
        Some((key, value)) => !key.contains('@') && (!value.contains('@') || is_login(key)),
        None => pair.is_empty(),
    };
    if url.query().unwrap_or_default().split('&').all(is_pair) {
        return Ok(());
    }
    Err(invalid(
        "a query is written key=value; in a password ? is written %3F and @ is written %40",
    ))
}

/// The keys of a query whose values somebody chose freely.
fn is_login(key: &str) -> bool {
    matches!(key, "username" | "user" | "password" | "pass")
}

/// A text with an `@` behind the first slash is no server's path: to a URL parser,
/// `redis://u:8/secret@host` names the host `u` and the port 8.
fn has_slash_in_password(text: &str) -> bool {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let rest = rest.split('?').next().unwrap_or_default();
    let path = rest.split_once('/').map(|(_, path)| path);
    !scheme.contains("unix") && path.is_some_and(|path| path.contains('@'))
}

/// `redis+unix:///path`, `redis+unix://user:password@/path` (which a URL parser refuses for its
/// empty host) is not supported: such credentials go into the query.
fn unix(url: &Url) -> Result<Address> {
    let path = match (url.host_str().unwrap_or_default(), url.path()) {
        ("", path) => decode(path)?,
        // As in http+unix://%2Frun%2Fapp.sock: a variable whose value is the path.
        (host, "") => decode(host)?,
        (_, _) => String::new(),
    };
    if !path.starts_with('/') {
        return Err(invalid(
            "a unix socket is written with three slashes and an absolute path, as in \
             redis+unix:///run/redis.sock",
        ));
    }
    Ok(Address {
        scheme: url.scheme().to_owned(),
        user: None,
        password: None,
        endpoints: vec![Endpoint::Unix(PathBuf::from(path))],
        path: String::new(),
        query: query(url),
    })
}

fn user(url: &Url) -> Result<Option<String>> {
    match url.username() {
        "" => Ok(None),
        user => decode(user).map(Some),
    }
}

fn password(url: &Url) -> Result<Option<Secret>> {
    match url.password() {
        None | Some("") => Ok(None),
        Some(password) => Ok(Some(Secret::new(decode(password)?))),
    }
}

fn query(url: &Url) -> Vec<(String, String)> {
    url.query_pairs()
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect()
}

fn decode(text: &str) -> Result<String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| invalid("its percent-encoding is not UTF-8"))
}

/// An address, or a list of addresses of one service, without userinfo and query; every host is
/// named. It has been parsed before.
#[must_use]
pub fn redacted(text: &str) -> String {
    let elements = elements(text);
    let mut scheme = None;
    let are_addresses = elements.iter().all(|element| {
        let parsed = parse_one(element, scheme, 1);
        scheme = scheme.or_else(|| element.split_once("://").map(|(scheme, _)| scheme));
        parsed.is_ok()
    });
    if !are_addresses {
        // A comma may belong to a password: then nothing before the last @ is shown.
        return redacted_url(text);
    }
    let shown: Vec<String> = elements.iter().map(|e| redacted_url(e)).collect();
    shown.join(",")
}

/// One address, where a comma separates nothing, without its userinfo and query.
#[must_use]
pub fn redacted_url(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, format!("?{HIDDEN}")),
        None => (rest, String::new()),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let shown = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    // With an unencoded slash in it, a password ends up in the path: http://user:8/Secret@host/.
    let path = if path.contains('@') && !authority.contains('@') {
        format!("/{HIDDEN}")
    } else {
        path.to_owned()
    };
    format!("{scheme}{shown}{path}{query}")
}

pub(super) fn invalid(why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidConfig,
        format!("the address can't be used: {why}"),
    )
}

#[cfg(test)]
mod tests;
