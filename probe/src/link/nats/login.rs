//! A client's greeting, and how it proves who it is: a password, a token, an nkey, a credentials
//! file.

use ready_probe_sdk::connect::looked_up_once;
use ready_probe_sdk::connect::nats::{NatsAuth, seed_in};
use serde::Serialize;

use super::nkey::Nkey;

/// What a client says first.
#[derive(Debug, Default, Serialize)]
pub(super) struct Connect {
    pub(super) verbose: bool,
    pub(super) pedantic: bool,
    pub(super) tls_required: bool,
    pub(super) name: &'static str,
    pub(super) lang: &'static str,
    pub(super) version: &'static str,
    pub(super) protocol: u8,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) headers: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) no_responders: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pass: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auth_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) jwt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sig: Option<String>,
}

/// What proves who we are, as far as that is known before the server says what to sign.
pub(super) enum Proof {
    None,
    Password { user: String, password: String },
    Token(String),
    Nkey(Nkey),
    Jwt(String, Nkey),
}

impl Proof {
    pub(super) fn of(auth: &NatsAuth) -> Result<Self, String> {
        Ok(match auth {
            NatsAuth::None => Self::None,
            NatsAuth::Password { user, password } => Self::Password {
                user: user.clone(),
                password: password.reveal().to_owned(),
            },
            NatsAuth::Token(token) => Self::Token(token.reveal().to_owned()),
            NatsAuth::TokenFile(path) => {
                Self::Token(looked_up_once::text(path).map_err(|e| format!("token_file: {e}"))?)
            }
            NatsAuth::Nkey(path) => {
                let seed = looked_up_once::text(path).map_err(|e| format!("nkey: {e}"))?;
                Self::Nkey(key_pair(seed_in(&seed)).map_err(|e| format!("nkey: {e}"))?)
            }
            NatsAuth::Creds(path) => {
                let text = looked_up_once::text(path).map_err(|e| format!("creds: {e}"))?;
                let section = |name| {
                    creds_section(&text, name)
                        .ok_or_else(|| format!("creds: {}: it holds no {name}", path.display()))
                };
                let pair = key_pair(section("SEED")?).map_err(|e| format!("creds: {e}"))?;
                Self::Jwt(section("JWT")?.to_owned(), pair)
            }
        })
    }
}

pub(super) fn greeting(proof: Proof, nonce: &str, tls: bool) -> Result<Connect, String> {
    let mut connect = Connect {
        tls_required: tls,
        name: "ready-probe",
        lang: "rust",
        version: env!("CARGO_PKG_VERSION"),
        protocol: 1,
        ..Connect::default()
    };
    match proof {
        Proof::None => {}
        Proof::Password { user, password } => {
            connect.user = Some(user);
            connect.pass = Some(password);
        }
        Proof::Token(token) => connect.auth_token = Some(token),
        Proof::Nkey(pair) => {
            connect.nkey = Some(pair.public_key());
            connect.sig = Some(sign(&pair, nonce)?);
        }
        Proof::Jwt(jwt, pair) => {
            connect.jwt = Some(jwt);
            connect.sig = Some(sign(&pair, nonce)?);
        }
    }
    Ok(connect)
}

/// The line between `-----BEGIN … NAME-----` and the next line of dashes.
fn creds_section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("-----BEGIN ") && line.contains(name))?;
    lines.find(|line| !line.is_empty() && !line.starts_with("---"))
}

fn key_pair(seed: &str) -> Result<Nkey, String> {
    Nkey::from_seed(seed).ok_or_else(|| "it holds no valid seed".to_owned())
}

fn sign(pair: &Nkey, nonce: &str) -> Result<String, String> {
    if nonce.is_empty() {
        return Err("the server asks for no signature: it does not know nkeys".to_owned());
    }
    Ok(pair.sign(nonce))
}

#[cfg(test)]
mod tests;
