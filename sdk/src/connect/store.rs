//! What `READY_STORE` means: where signals are announced and read.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::Endpoint;
use super::address::{self, invalid, redacted};
use super::file::ReadText;
use super::nats::{NatsAddress, NatsAuth, SCHEMES as NATS_SCHEMES};
use super::redact::Secrets;
use super::redis::{self, RedisAddress};
use super::tls::{self, CertificateName, TlsOptions};
use crate::signal::clean;
use crate::{Error, ErrorKind, Result};

/// The variable that names the store.
pub const STORE_VARIABLE: &str = "READY_STORE";
/// The variable that names the namespace.
pub const NAMESPACE_VARIABLE: &str = "READY_NAMESPACE";
/// The variable that says how long a bucket keeps a record on a nats-server before 2.11.
pub const MAX_AGE_VARIABLE: &str = "READY_NATS_MAX_AGE";
/// The default namespace.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The default bucket.
pub const DEFAULT_BUCKET: &str = "ready";
/// How long a bucket keeps records that have no TTL of their own.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(60);

const MAX_SHOWN_CHARS: usize = 200;

/// A store's address in parts.
///
/// ```
/// use ready_probe_sdk::connect::store::StoreAddress;
///
/// let store = StoreAddress::parse("redis://agents:s3cret@redis:6379")?;
/// assert_eq!(store.redacted(), "redis://***@redis:6379");
/// # Ok::<(), ready_probe_sdk::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAddress {
    /// What kind of server it is.
    pub server: Server,
    /// How to speak TLS with it.
    pub tls: TlsOptions,
    redacted: String,
}

/// A kind of server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Redis or Valkey.
    Redis(RedisAddress),
    /// NATS with JetStream.
    Nats(NatsAddress, Bucket),
}

/// A key-value bucket, and how to make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// How long it keeps a record on a nats-server before 2.11.
    pub max_age: Duration,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            name: DEFAULT_BUCKET.to_owned(),
            max_age: DEFAULT_MAX_AGE,
        }
    }
}

/// Everything that may follow the `#` of a store's address.
#[derive(Debug, Default)]
struct FragmentOptions {
    tls: TlsOptions,
    auth: Vec<NatsAuth>,
    bucket: Option<String>,
}

impl StoreAddress {
    /// Parses `redis://…`, `rediss://…`, `redis+unix:///…` and their relatives `valkey://…`,
    /// `valkeys://…` and `unix:///…`, `nats://…` and `tls://…`, each with the options of TLS behind a `#`:
    /// `ca=FILE`, `cert=FILE&key_file=FILE`, `server_name=NAME`, `insecure`; for NATS also `creds=FILE`,
    /// `nkey=FILE`, `token_file=FILE` and `bucket=NAME`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`]; the message never quotes the address.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        let scheme = address::scheme(address);
        let is_nats = NATS_SCHEMES.contains(&scheme.as_str());
        let FragmentOptions {
            mut tls,
            auth,
            bucket,
        } = FragmentOptions::parse(fragment, is_nats)?;
        let asks_for_tls = tls != TlsOptions::default();
        let server = if is_nats {
            let mut nats = NatsAddress::parse(address)?;
            for auth in auth {
                if nats.auth != NatsAuth::None {
                    return Err(invalid("it has more than one way to authenticate"));
                }
                nats.auth = auth;
            }
            nats.tls |= asks_for_tls;
            Server::Nats(
                nats,
                Bucket {
                    name: bucket.unwrap_or_else(|| DEFAULT_BUCKET.to_owned()),
                    ..Bucket::default()
                },
            )
        } else if !redis::SCHEMES.iter().any(|(known, _)| *known == scheme) {
            let known = redis::SCHEMES.map(|(known, _)| known);
            let known = [&known[..], &NATS_SCHEMES].concat().join("://, ");
            return Err(invalid(&format!(
                "it must begin with one of these schemes: {known}://"
            )));
        } else {
            let redis = RedisAddress::parse(address, &mut tls)?;
            if asks_for_tls && !redis.tls {
                return Err(invalid("options of TLS make no sense without rediss://"));
            }
            Server::Redis(redis)
        };
        // Whoever reads about a store should see that it is not fully verified. The query itself is
        // not shown.
        let caveat = match (tls.insecure, &tls.name) {
            (true, _) => "#insecure",
            (false, CertificateName::Any) => "#ssl_check_hostname=false",
            (false, CertificateName::OfAddress | CertificateName::Given(_)) => "",
        };
        Ok(Self {
            server,
            tls,
            redacted: clean(&format!("{}{caveat}", redacted(address)), MAX_SHOWN_CHARS),
        })
    }

    /// The same store; a nats-server before 2.11 keeps its records for so long.
    #[must_use]
    pub fn with_max_age(mut self, keep: Duration) -> Self {
        if let Server::Nats(_, bucket) = &mut self.server {
            bucket.max_age = keep;
        }
        self
    }

    /// The address as it is printed: without secrets.
    #[must_use]
    pub fn redacted(&self) -> &str {
        &self.redacted
    }

    /// Its servers: any of them will do.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        match &self.server {
            Server::Redis(redis) => &redis.endpoints,
            Server::Nats(nats, _) => &nats.endpoints,
        }
    }

    /// The files and sockets that connecting looks at.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.server {
            Server::Redis(redis) => redis.files(&self.tls),
            Server::Nats(nats, _) => nats.files(&self.tls),
        }
    }

    /// Whether files hold some of its secrets.
    #[must_use]
    pub fn has_secret_files(&self) -> bool {
        match &self.server {
            Server::Redis(_) => false,
            Server::Nats(nats, _) => nats.auth.is_file(),
        }
    }

    /// Adds what must never be printed: the secrets in the address, and those in its files right
    /// now.
    pub fn add_secrets(&self, secrets: &mut Secrets, read: ReadText) {
        self.secrets().for_each(|secret| secrets.add(secret));
        if let Server::Nats(nats, _) = &self.server {
            nats.auth.add_file(secrets, read);
        }
    }

    /// The secrets in the address, which must never be printed.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let secret = match &self.server {
            Server::Redis(redis) => redis.secret(),
            Server::Nats(nats, _) => nats.auth.secret(),
        };
        secret.into_iter()
    }
}

impl FragmentOptions {
    fn parse(fragment: &str, is_nats: bool) -> Result<Self> {
        let mut options = Self::default();
        for pair in fragment.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| invalid("the percent-encoding of an option is not UTF-8"))?;
            options.add(key, &value, is_nats)?;
        }
        let Self { tls, .. } = &options;
        match (&tls.cert, &tls.key) {
            (Some(_), None) => Err(invalid("the option cert needs key_file beside it")),
            (None, Some(_)) => Err(invalid("the option key_file needs cert beside it")),
            (Some(_), Some(_)) | (None, None) => Ok(options),
        }
    }

    fn add(&mut self, key: &str, value: &str, is_nats: bool) -> Result<()> {
        if value.is_empty() != (key == "insecure") {
            return Err(invalid(
                "every option behind # except insecure takes a value, as in #ca=FILE",
            ));
        }
        let path = || PathBuf::from(value);
        match (key, is_nats) {
            ("ca", _) => self.tls.ca = Some(path()),
            ("cert", _) => self.tls.cert = Some(path()),
            ("key_file", _) => self.tls.key = Some(path()),
            ("server_name", _) => {
                self.tls.name = tls::server_name(value).map_err(|e| invalid(&e))?;
            }
            ("insecure", _) => self.tls.insecure = true,
            ("creds", true) => self.auth.push(NatsAuth::Creds(path())),
            ("nkey", true) => self.auth.push(NatsAuth::Nkey(path())),
            ("token_file", true) => self.auth.push(NatsAuth::TokenFile(path())),
            ("bucket", true) => self.bucket = Some(bucket(value)?),
            (_, true) => {
                return Err(unknown(
                    "ca, cert, key_file, server_name, insecure, creds, nkey, token_file, bucket",
                ));
            }
            (_, false) => return Err(unknown("ca, cert, key_file, server_name, insecure")),
        }
        Ok(())
    }
}

/// It may be the rest of a password, so it is not quoted.
fn unknown(known: &str) -> Error {
    invalid(&format!(
        "what follows its # is not an option (options: {known}); a # in a password is written %23"
    ))
}

/// A bucket's name, checked as every NATS client checks it: it becomes part of a subject.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`], with the rule.
pub fn bucket(name: &str) -> Result<String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.len() <= 128 && !name.is_empty() && name.chars().all(is_allowed) {
        return Ok(name.to_owned());
    }
    Err(Error::new(
        ErrorKind::InvalidConfig,
        "a bucket's name is letters, digits, '_' and '-'",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_their_options() {
        let redis = StoreAddress::parse("rediss://u:s3cret@h:1/2#ca=/c%20a&insecure").unwrap();
        assert_eq!(redis.redacted(), "rediss://***@h:1/2#insecure");
        assert_eq!(redis.tls.ca, Some("/c a".into()));
        assert_eq!(redis.secrets().collect::<Vec<_>>(), ["s3cret"]);
        let name = "rediss://h?ssl_check_hostname=false";
        let redis = StoreAddress::parse(name).unwrap();
        assert_eq!(redis.redacted(), "rediss://h?***#ssl_check_hostname=false");
        let redis = StoreAddress::parse(&format!("{name}#server_name=cache")).unwrap();
        assert_eq!(redis.redacted(), "rediss://h?***");
        let nats = StoreAddress::parse("nats://h#creds=/c&bucket=fleet")
            .unwrap()
            .with_max_age(Duration::from_secs(9));
        let Server::Nats(address, bucket) = nats.server else {
            panic!("not a NATS server")
        };
        assert_eq!(address.auth, NatsAuth::Creds("/c".into()));
        assert_eq!(
            (bucket.name.as_str(), bucket.max_age.as_secs()),
            ("fleet", 9)
        );
    }

    #[test]
    fn what_can_not_be_meant_is_refused_without_quoting_it() {
        for bad in [
            "",
            "secret",
            "http://secret",
            "h:1,password=secret,ssl=False",
            "redis://h:1,password=secret,ssl=False",
            "redis://u:12?secret@h",
            "nats://u:12?secret@h",
            "nats://secret=x",
            "redis://h#secret",
            "redis://h#ca=/secret",
            "redis://h#bucket=secret",
            "rediss://h#ca",
            "rediss://h#insecure=secret",
            "rediss://h#cert=/secret",
            "rediss://h#server_name=se cret",
            "redis://h#server_name=secret",
            "nats://secret@h#creds=/secret",
            "nats://h#creds=/secret&nkey=/secret",
            "nats://h#bucket=se.cret",
            "nats://h#ca=%ff",
        ] {
            let e = StoreAddress::parse(bad).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidConfig, "{bad}");
            assert!(!e.to_string().contains("cret"), "{bad}: {e}");
        }
    }
}
