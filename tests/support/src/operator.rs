//! An operator of NATS, as nsc makes one: an account, a user, and the user's credentials file.

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator with one account, which has one user.
#[derive(Debug)]
pub struct Operator {
    /// For the configuration of a server that trusts it.
    pub config: String,
    /// The user's credentials file.
    pub creds: String,
    /// The user's seed, which is a part of it.
    pub seed: String,
}

impl Operator {
    /// A new one, whose account may use as much of everything as it likes, JetStream included.
    #[expect(clippy::new_without_default, reason = "making keys is no default")]
    pub fn new() -> Self {
        let (operator, user) = (KeyPair::new_operator(), KeyPair::new_user());
        // JetStream does not start without an account for the system.
        let (account, system) = (KeyPair::new_account(), KeyPair::new_account());
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let system_limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1,
        });
        let system_accounts = json!({ "type": "account", "version": 2, "limits": system_limits });
        let operators = json!({ "type": "operator", "version": 2 });
        let accounts = json!({ "type": "account", "version": 2, "limits": limits });
        let users = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let config = format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}",
            jwt(&operator, &operator, "operator", &operators),
            system.public_key(),
            account.public_key(),
            jwt(&operator, &account, "account", &accounts),
            system.public_key(),
            jwt(&operator, &system, "system", &system_accounts),
        );
        let seed = user.seed().expect("a new pair has its seed");
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n",
            jwt(&account, &user, "user", &users),
        );
        Self {
            config,
            creds,
            seed,
        }
    }
}

/// A JWT of NATS (ADR-14): signed by an nkey, about an nkey.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: &Value) -> String {
    let part = |json: &Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = part(&json!({
        "jti": name,
        "iat": 1_700_000_000,
        "iss": issuer.public_key(),
        "sub": subject.public_key(),
        "name": name,
        "nats": nats,
    }));
    let signed = format!("{head}.{claims}");
    let signature = issuer
        .sign(signed.as_bytes())
        .expect("the issuer has its seed");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}
