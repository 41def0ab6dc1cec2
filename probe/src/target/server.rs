//! Targets that are connected to, but for those of HTTP: their body is an address.

use ready_probe_sdk::connect::address::{self, redacted};
use ready_probe_sdk::connect::nats::{NatsAddress, NatsAuth};
use ready_probe_sdk::connect::redis::RedisAddress;
use ready_probe_sdk::connect::tls::TlsOptions;
use ready_probe_sdk::connect::{Endpoint, store};

use super::options::{Options, TLS};
use super::variables::Variables;
use super::{Kind, NatsTarget, RedisRole, RedisTarget, Target};
use crate::redact::Secrets;
use crate::verdict::Scope;

pub(super) fn redis(
    text: &str,
    more: Options,
    variables: &Variables,
    secrets: &mut Secrets,
) -> Result<Target, String> {
    let known = [&["key", "value", "role"], TLS].concat();
    let (asked, written, mut options) = split(text, more, variables, "redis", &known)?;
    let text = asked.as_str();
    let shown = options.redacted();
    let mut tls = options.tls()?;
    let asks_for_tls = tls != TlsOptions::default();
    let address = RedisAddress::parse(text, &mut tls).map_err(|e| e.to_string())?;
    if asks_for_tls && !address.tls {
        return Err("options of TLS make no sense without rediss://".to_owned());
    }
    if let Some(secret) = address.secret() {
        secrets.add(secret);
    }
    let mut target = RedisTarget {
        not: false,
        key: options.value("key")?,
        value: options.text("value")?,
        role: options.parsed("role", role)?,
        tls,
        address,
    };
    if target.value.is_some() && target.key.is_none() {
        return Err("the option value needs key beside it".to_owned());
    }
    if let Some(value) = &target.value {
        secrets.add(value);
    }
    let expects = target.key.is_some() || target.role.is_some();
    target.not = turned_round(&mut options, expects, "key= or role=")?;
    if target.not && target.address.endpoints.len() > 1 {
        return Err(
            "not needs one server: of several the first that passes answers for all, \
             and an empty one would hide the others; write a check for each"
                .to_owned(),
        );
    }
    let redacted = format!("{}{shown}", redacted(&written));
    Target::with_common(
        Kind::Redis(target),
        &redacted,
        Scope::Dependency,
        &mut options,
    )
}

pub(super) fn nats(
    text: &str,
    more: Options,
    variables: &Variables,
    secrets: &mut Secrets,
) -> Result<Target, String> {
    let known = [&["jetstream", "bucket", "creds", "nkey", "token_file"], TLS].concat();
    let (asked, written, mut options) = split(text, more, variables, "nats", &known)?;
    let text = asked.as_str();
    let shown = options.redacted();
    let mut address = NatsAddress::parse(text).map_err(|e| e.to_string())?;
    if let Some(secret) = address.auth.secret() {
        secrets.add(secret);
    }
    let from_file = [
        options.value("creds")?.map(|f| NatsAuth::Creds(f.into())),
        options.value("nkey")?.map(|f| NatsAuth::Nkey(f.into())),
        options
            .value("token_file")?
            .map(|f| NatsAuth::TokenFile(f.into())),
    ];
    for auth in from_file.into_iter().flatten() {
        if address.auth != NatsAuth::None {
            return Err("it has more than one way to authenticate".to_owned());
        }
        address.auth = auth;
    }
    let tls = options.tls()?;
    // A server, or whoever stands in front of it, may not talk us out of what is asked for here.
    address.tls |= tls != TlsOptions::default();
    let mut target = NatsTarget {
        not: false,
        tls,
        jetstream: options.flag("jetstream")?,
        bucket: options.parsed("bucket", |name| {
            store::bucket(name).map_err(|e| e.to_string())
        })?,
        address,
    };
    let expects = target.jetstream || target.bucket.is_some();
    target.not = turned_round(&mut options, expects, "bucket= or jetstream")?;
    let redacted = format!("{}{shown}", redacted(&written));
    Target::with_common(
        Kind::Nats(target),
        &redacted,
        Scope::Dependency,
        &mut options,
    )
}

pub(super) fn tcp(text: &str, more: Options, variables: &Variables) -> Result<Target, String> {
    let (asked, _, mut options) = split(text, more, variables, "tcp", &[])?;
    let text = asked.as_str();
    let endpoint = host_and_port(text)?;
    let redacted = format!("tcp://{endpoint}{}", options.redacted());
    let scope = scope_of(&endpoint);
    Target::with_common(Kind::Connect(endpoint), &redacted, scope, &mut options)
}

/// `tcp://HOST:PORT`
pub(super) fn host_and_port(text: &str) -> Result<Endpoint, String> {
    let parsed = address::parse(text, 0).map_err(|e| match address::parse(text, 1) {
        Ok(_) => "it needs a port: tcp://host:port".to_owned(),
        Err(_) => e.to_string(),
    })?;
    let has_more = parsed.user.is_some() || !parsed.path.is_empty() || !parsed.query.is_empty();
    let [endpoint] = parsed.endpoints.as_slice() else {
        return Err("it names more than one server; write one target for each".to_owned());
    };
    if has_more {
        return Err("it is written tcp://host:port, with nothing behind it".to_owned());
    }
    Ok(endpoint.clone())
}

pub(super) fn unix(text: &str, more: Options, variables: &Variables) -> Result<Target, String> {
    let (asked, written, mut options) = split(text, more, variables, "unix", &[])?;
    let text = asked.as_str();
    let mut parsed = address::parse(text, 0).map_err(|e| e.to_string())?;
    let endpoint = match (parsed.endpoints.pop(), parsed.query.is_empty()) {
        (Some(endpoint @ Endpoint::Unix(_)), true) => endpoint,
        (Some(Endpoint::Unix(_)), false) => {
            return Err(
                "it is written unix:///path, with nothing behind it; a ? in the path is \
                        written %3F"
                    .to_owned(),
            );
        }
        (Some(Endpoint::Tcp { .. }) | None, _) => {
            return Err("it is written unix:///path".to_owned());
        }
    };
    let redacted = format!("{written}{}", options.redacted());
    Target::with_common(Kind::Connect(endpoint), &redacted, Scope::Own, &mut options)
}

/// The option `not` of a server that is asked whatever is expected of it. No answer from it answers
/// nothing.
fn turned_round(options: &mut Options, expects: bool, what: &str) -> Result<bool, String> {
    match (options.flag("not")?, expects) {
        (true, false) => Err(format!(
            "the option not needs {what} beside it: a server that does not answer is no answer"
        )),
        (not, _) => Ok(not),
    }
}

/// In an address the options begin at the first `#`. Before it is the question, and how that is
/// written for people, with all its secrets.
pub(super) fn split(
    text: &str,
    more: Options,
    variables: &Variables,
    kind: &str,
    known: &[&str],
) -> Result<(String, String, Options), String> {
    let (address, mut options) = Options::split(text, variables)?;
    options.extend(more);
    options.check_known(kind, known)?;
    let (asked, written) = (variables.encoded(address), variables.shown(address));
    Ok((asked, written, options))
}

pub(super) fn scope_of(endpoint: &Endpoint) -> Scope {
    if endpoint.is_loopback() {
        Scope::Own
    } else {
        Scope::Dependency
    }
}

fn role(text: &str) -> Result<RedisRole, String> {
    match text {
        "master" | "primary" => Ok(RedisRole::Master),
        "replica" | "slave" => Ok(RedisRole::Replica),
        _ => Err("it must be master or replica".to_owned()),
    }
}
