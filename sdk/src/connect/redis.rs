//! What a Redis address means.

use std::path::{Path, PathBuf};

use super::address::{self, invalid};
use super::tls::{CertificateName, TlsOptions};
use super::{Endpoint, Secret};
use crate::Result;

/// The port of Redis.
pub const DEFAULT_PORT: u16 = 6379;

/// The schemes of an address, each with whether it means TLS.
pub(super) const SCHEMES: [(&str, bool); 6] = [
    ("redis", false),
    ("rediss", true),
    ("redis+unix", false),
    ("unix", false),
    ("valkey", false),
    ("valkeys", true),
];

/// A shorter user is no password.
const MIN_USER_BYTES: usize = 6;

/// A Redis server, or several of which any will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// The servers.
    pub endpoints: Vec<Endpoint>,
    /// Whether to speak TLS.
    pub tls: bool,
    /// The ACL user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database to select.
    pub db: u32,
}

impl RedisAddress {
    /// What must never be printed: the password or, without one, the user, which then mostly is a
    /// password whose colon was forgotten.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        let user = self
            .user
            .as_deref()
            .filter(|user| user.len() >= MIN_USER_BYTES);
        self.password.as_ref().map(Secret::reveal).or(user)
    }

    /// The files and sockets that connecting looks at.
    #[must_use]
    pub fn files(&self, tls: &TlsOptions) -> Vec<PathBuf> {
        let sockets = self.endpoints.iter().filter_map(Endpoint::socket);
        let mut files: Vec<PathBuf> = sockets.map(Path::to_owned).collect();
        if self.tls {
            files.extend(tls.files());
        }
        files
    }

    /// Parses `redis://`, `rediss://`, `redis+unix://` and, since application variables hold
    /// them, `valkey://`, `valkeys://` and `unix://` addresses.
    ///
    /// The query strings of the common clients are understood where they change how to connect
    /// (`db`, `username`, `password`, and what goes into `tls`: `ssl_cert_reqs`, `ssl_check_hostname`,
    /// `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`), and otherwise passed over.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfig`]; the message never quotes the address.
    pub fn parse(text: &str, tls: &mut TlsOptions) -> Result<Self> {
        // Before everything else, which may make no sense with another scheme.
        let scheme = address::scheme(text);
        let Some((_, speaks_tls)) = SCHEMES.iter().find(|(known, _)| *known == scheme) else {
            let known = SCHEMES.map(|(known, _)| known).join(" or ");
            return Err(invalid(&format!("its scheme must be {known}")));
        };
        let address = address::parse(text, DEFAULT_PORT)?;
        let mut redis = Self {
            db: if address.path.is_empty() {
                0
            } else {
                database(&address.path)?
            },
            endpoints: address.endpoints,
            tls: *speaks_tls,
            user: address.user,
            password: address.password,
        };
        for (key, value) in address.query {
            match key.as_str() {
                "db" => redis.db = database(&value)?,
                "username" | "user" => redis.user = Some(value),
                "password" | "pass" => redis.password = Some(Secret::new(value)),
                // Python's names; `optional` verifies as `required` does, on the client's side.
                "ssl_cert_reqs" => {
                    let reqs = value.to_ascii_lowercase();
                    match reqs.strip_prefix("cert_").unwrap_or(&reqs) {
                        "none" => tls.insecure = true,
                        "optional" | "required" => {}
                        _ => {
                            return Err(invalid(
                                "its ssl_cert_reqs must be none, optional or required",
                            ));
                        }
                    }
                }
                // For redis-py, whatever is not a no is a yes. A name that the check itself asks
                // for is verified all the same.
                "ssl_check_hostname" if is_no(&value) && tls.name == CertificateName::OfAddress => {
                    tls.name = CertificateName::Any;
                }
                "ssl_ca_certs" => tls.ca = tls.ca.take().or(Some(PathBuf::from(value))),
                "ssl_certfile" => tls.cert = tls.cert.take().or(Some(PathBuf::from(value))),
                "ssl_keyfile" => tls.key = tls.key.take().or(Some(PathBuf::from(value))),
                // Pool sizes, timeouts and the like of the application's own client.
                _ => {}
            }
        }
        Ok(redis)
    }
}

/// Values that mean no to redis-py (redis/connection.py, `FALSE_STRINGS`).
fn is_no(value: &str) -> bool {
    ["0", "f", "false", "n", "no"]
        .iter()
        .any(|no| value.eq_ignore_ascii_case(no))
}

fn database(text: &str) -> Result<u32> {
    text.parse()
        .map_err(|_| invalid("its database must be a number, as in redis://host:6379/0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::tls;

    fn parse(text: &str) -> RedisAddress {
        RedisAddress::parse(text, &mut TlsOptions::default()).unwrap()
    }

    #[test]
    fn the_forms_of_the_common_clients_are_understood() {
        let plain = parse("redis://cache");
        assert_eq!((plain.db, plain.tls), (0, false));
        assert_eq!(plain.endpoints[0].to_string(), "cache:6379");
        assert_eq!(parse("redis://:p@cache/3").db, 3);
        assert_eq!(parse("redis://cache?db=4&max_connections=9").db, 4);
        assert!(parse("rediss://u:p@cache:1/").tls);
        assert_eq!(
            parse("redis+unix:///run/r.sock?db=2").endpoints,
            [Endpoint::Unix("/run/r.sock".into())]
        );
        assert_eq!(parse("redis+unix:///run/r.sock?db=2").db, 2);
    }

    #[test]
    fn an_application_that_does_not_verify_is_taken_at_its_word() {
        let mut tls = TlsOptions::default();
        RedisAddress::parse("rediss://h?ssl_cert_reqs=CERT_NONE", &mut tls).unwrap();
        assert!(tls.insecure);
        let mut tls = TlsOptions::default();
        RedisAddress::parse("rediss://h?ssl_cert_reqs=optional", &mut tls).unwrap();
        assert!(!tls.insecure);
    }

    #[test]
    fn an_application_that_does_not_check_the_name_is_taken_at_its_word() {
        let given = tls::server_name("cache").unwrap();
        for (value, before, after) in [
            ("no", CertificateName::OfAddress, CertificateName::Any),
            (
                "yes",
                CertificateName::OfAddress,
                CertificateName::OfAddress,
            ),
            ("no", given.clone(), given),
        ] {
            let mut tls = TlsOptions {
                name: before,
                ..TlsOptions::default()
            };
            let url = format!("rediss://h?ssl_check_hostname={value}");
            RedisAddress::parse(&url, &mut tls).unwrap();
            assert_eq!(tls.name, after, "{value}");
        }
    }

    #[test]
    fn a_database_that_is_no_number_is_refused() {
        assert!(RedisAddress::parse("redis://h/x", &mut TlsOptions::default()).is_err());
        assert!(RedisAddress::parse("http://h", &mut TlsOptions::default()).is_err());
    }
}
