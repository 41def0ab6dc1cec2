//! `http://`, `https://` and `http+unix://`: what is sent, and what is expected of the answer.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use data_encoding::BASE64;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use ready_probe_sdk::connect::Endpoint;
use ready_probe_sdk::connect::address::{self, redacted_url};
use ready_probe_sdk::connect::tls::TlsOptions;
use url::{Host, Url};

use super::options::{Options, TLS};
use super::server::{scope_of, split};
use super::variables::Variables;
use super::{Body, HttpNot, HttpTarget, Kind, Target};
use crate::redact::Secrets;

/// The value of a query, or a body, counts as a secret from this length on; with their address they
/// are never printed, however short.
const MIN_SECRET_BYTES: usize = 6;

pub(super) fn parse(
    text: &str,
    more: Options,
    variables: &Variables,
    secrets: &mut Secrets,
) -> Result<Target, String> {
    let own = [
        "status",
        "method",
        "header",
        "contains",
        "json",
        "body",
        "body_file",
    ];
    let known = [&own, TLS].concat();
    let (asked, written, mut options) = split(text, more, variables, "http", &known)?;
    let text = asked.as_str();
    let shown = options.redacted();
    if has_question_mark_in_password(text) {
        return Err("a ? in a password is written %3F".to_owned());
    }
    if text.contains(char::is_control) {
        return Err("it holds a control character, such as a line end".to_owned());
    }
    let url = Url::parse(text).map_err(|e| {
        format!(
            "the address can't be used: {}",
            address::why_no_url(text, &e)
        )
    })?;
    // A URL parser takes any number of slashes for two.
    if text
        .split_once("://")
        .is_some_and(|(_, rest)| rest.starts_with(['/', '\\']))
    {
        return Err("it names no host".to_owned());
    }
    let tls = options.tls()?;
    if url.scheme() != "https" && tls != TlsOptions::default() {
        return Err("options of TLS make no sense without https".to_owned());
    }
    let mut headers = HeaderMap::new();
    add_basic_auth(&url, &mut headers, secrets)?;
    for header in options.values("header")? {
        add_header(&header, &mut headers, secrets)?;
    }
    for (key, value) in url.query_pairs() {
        // `?TOKEN` and `?TOKEN=`.
        let secret = if value.is_empty() { key } else { value };
        // `?v=1` is no secret, and hiding each 1 would garble every message.
        if secret.len() >= MIN_SECRET_BYTES {
            secrets.add(&secret);
        }
    }
    let (endpoint, host, path) = if url.scheme() == "http+unix" {
        unix_endpoint(&url)?
    } else {
        tcp_endpoint(&url)?
    };
    let body = match (options.value("body")?, options.value("body_file")?) {
        (None, None) => Body::None,
        (Some(text), None) => Body::Text(text),
        (None, Some(path)) => Body::File(path.into()),
        (Some(_), Some(_)) => {
            return Err("body and body_file exclude each other".to_owned());
        }
    };
    if let Body::Text(text) = &body
        && text.len() >= MIN_SECRET_BYTES
    {
        secrets.add(text);
    }
    let usual_method = match &body {
        Body::None => hyper::Method::GET,
        Body::Text(_) | Body::File(_) => hyper::Method::POST,
    };
    let explicit_status = options.parsed("status", status)?;
    let mut target = HttpTarget {
        tls: (url.scheme() == "https").then_some(tls),
        host,
        path,
        method: options.parsed("method", method)?.unwrap_or(usual_method),
        body,
        headers,
        contains: options.values("contains")?,
        json: options.all_parsed("json", json)?,
        not: None,
        endpoint,
        status: explicit_status.clone().unwrap_or(vec![200..=299]),
    };
    let expects =
        explicit_status.is_some() || !target.contains.is_empty() || !target.json.is_empty();
    target.not = (expects && options.flag("not")?).then_some(HttpNot {
        status: explicit_status.is_some(),
    });
    let scope = scope_of(&target.endpoint);
    let redacted = format!("{}{shown}", redacted_url(&written));
    Target::with_common(Kind::Http(target), &redacted, scope, &mut options)
}

/// To a URL parser, `http://user:12?34@host/` names the host `user` and the port 12.
fn has_question_mark_in_password(text: &str) -> bool {
    let (_, rest) = text.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let query = rest
        .strip_prefix(authority)
        .and_then(|rest| rest.strip_prefix('?'));
    let is_password = |part: &str| part.split('=').next().is_some_and(|key| key.contains('@'));
    query.is_some_and(|query| query.split('&').any(is_password))
}

fn tcp_endpoint(url: &Url) -> Result<(Endpoint, String, String), String> {
    let host = match url.host() {
        Some(Host::Ipv6(ip)) => ip.to_string(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Domain(_)) | None => return Err("it names no host".to_owned()),
    };
    address::check_host(&host).map_err(|e| e.to_string())?;
    let port = match url.port_or_known_default() {
        Some(0) | None => return Err("port 0 can't be connected to".to_owned()),
        Some(port) => port,
    };
    let endpoint = Endpoint::Tcp { host, port };
    // RFC 9110, 7.2: the port is left out where it is the scheme's own.
    let header = match (url.port(), &endpoint) {
        (None, Endpoint::Tcp { host, .. }) if host.contains(':') => format!("[{host}]"),
        (None, Endpoint::Tcp { host, .. }) => host.clone(),
        (Some(_), endpoint) | (None, endpoint @ Endpoint::Unix(_)) => endpoint.to_string(),
    };
    Ok((endpoint, header, path_and_query(url, url.path())))
}

/// `http+unix://%2Frun%2Fapp.sock/health`: the host is the socket's path.
fn unix_endpoint(url: &Url) -> Result<(Endpoint, String, String), String> {
    let socket = percent_decode_str(url.host_str().unwrap_or_default())
        .decode_utf8()
        .map_err(|_| "the socket's path is not UTF-8".to_owned())?;
    if !socket.starts_with('/') {
        return Err("the socket is written with its slashes encoded, as in \
             http+unix://%2Frun%2Fapp.sock/health"
            .to_owned());
    }
    let endpoint = Endpoint::Unix(PathBuf::from(socket.into_owned()));
    let path = if url.path().is_empty() {
        "/"
    } else {
        url.path()
    };
    Ok((endpoint, "localhost".to_owned(), path_and_query(url, path)))
}

fn path_and_query(url: &Url, path: &str) -> String {
    match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

fn add_basic_auth(url: &Url, headers: &mut HeaderMap, secrets: &mut Secrets) -> Result<(), String> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let mut pair = decode(url.username());
    pair.push(b':');
    pair.extend(decode(url.password().unwrap_or_default()));
    let encoded = BASE64.encode(&pair);
    // `https://TOKEN@host` and `https://TOKEN:x-oauth-basic@host` are as usual as a password.
    for part in [url.username(), url.password().unwrap_or_default()] {
        if part == url.password().unwrap_or_default() || part.len() >= MIN_SECRET_BYTES {
            secrets.add(&String::from_utf8_lossy(&decode(part)));
        }
    }
    secrets.add(&encoded);
    let value = HeaderValue::try_from(format!("Basic {encoded}"))
        .map_err(|_| "its credentials can't be sent".to_owned())?;
    headers.insert(AUTHORIZATION, value);
    Ok(())
}

fn add_header(text: &str, headers: &mut HeaderMap, secrets: &mut Secrets) -> Result<(), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("the option header is written header=NAME:VALUE")?;
    let (name, value) = (name.trim(), value.trim());
    let invalid = |what| format!("the option header: its {what} can't be sent");
    let name = HeaderName::try_from(name).map_err(|_| invalid("name"))?;
    let parsed = HeaderValue::try_from(value).map_err(|_| invalid("value"))?;
    secrets.add(value);
    // "Bearer TOKEN" may come back as "TOKEN".
    if let Some((_, credentials)) = value.split_once(' ') {
        secrets.add(credentials.trim());
        // "Basic BASE64" as "USER:PASSWORD".
        let pair = BASE64.decode(credentials.trim().as_bytes());
        let pair = pair.ok().and_then(|pair| String::from_utf8(pair).ok());
        if let Some((_, password)) = pair.as_deref().and_then(|pair| pair.split_once(':')) {
            secrets.add(password);
        }
    }
    headers.append(name, parsed);
    Ok(())
}

fn method(text: &str) -> Result<hyper::Method, String> {
    hyper::Method::try_from(text.to_ascii_uppercase().as_str())
        .map_err(|_| "it is no HTTP method".to_owned())
}

/// `200`, `200-299`, `200,204,300-399`.
fn status(text: &str) -> Result<Vec<RangeInclusive<u16>>, String> {
    let wrong = || "it is written 200, 200-299 or 200,301-302; codes go from 100 to 599".to_owned();
    let code = |text: &str| {
        text.trim()
            .parse::<u16>()
            .ok()
            .filter(|code| (100..=599).contains(code))
            .ok_or_else(wrong)
    };
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = code(first)?..=code(last)?;
            if range.is_empty() {
                return Err(wrong());
            }
            Ok(range)
        })
        .collect()
}

/// `/pointer=value`; the pointer is RFC 6901's.
fn json(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((pointer, value)) if pointer.is_empty() || pointer.starts_with('/') => {
            Ok((pointer.to_owned(), value.to_owned()))
        }
        Some(_) | None => Err("it is written json=/pointer=value".to_owned()),
    }
}
