//! The engine of containers, over its API: where it is, and the four requests that are ever made.
//!
//! `GET /_ping`, `GET /containers/json` for containers with a label, `GET /containers/ID/json`, and
//! `POST /containers/ID/restart`. <https://docs.docker.com/reference/api/engine/>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri};
use ready_probe::event_loop;
use ready_probe::link::connect::{self, NoConnection};
use ready_probe::link::http::{MAX_ANSWER_BYTES, ask_for_much};
use ready_probe::redact::{Secrets, shown};
use ready_probe_sdk::connect::{Endpoint, address};
use serde::{Deserialize, Serialize};

use crate::container::{self, Life, Sight};
use crate::recovery::Contained;

/// Where Docker listens.
const DOCKER: &str = "unix:///var/run/docker.sock";
/// Where its client is told.
pub const DOCKER_HOST: &str = "DOCKER_HOST";
/// What an engine may take to say that it is there, and to list.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// What a restart may take beyond the time that the container has to end.
const RESTART: Duration = Duration::from_secs(45);
/// The most that is read of a list: each container in it is described with its labels, mounts and networks, in some 2 KiB.
const MAX_LIST_BYTES: usize = 64 * MAX_ANSWER_BYTES;
/// How much of an error is told.
const MAX_QUOTE_CHARS: usize = 200;

/// The names of containers, by their label.
pub type Labelled = BTreeMap<String, BTreeSet<String>>;

/// What somebody is to look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Where the engine is.
    pub at: String,
    /// The labels whose containers are meant.
    pub labels: BTreeSet<String>,
    /// How often it is asked for them.
    pub every_ms: u64,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listed {
    /// These are there.
    Found(Labelled),
    /// It is there, and did not say.
    Trouble(String),
    /// Nobody is there.
    Nobody(String),
}

/// Where Docker's client would ask. An error names the variable.
pub fn of_environment() -> Result<String, String> {
    let at = std::env::var(DOCKER_HOST).ok().filter(|at| !at.is_empty());
    let at = at.unwrap_or_else(|| DOCKER.to_owned());
    check(&at).map_err(|why| format!("{DOCKER_HOST} (environment): {why}"))?;
    Ok(at)
}

/// Whether an engine can be there: `unix:///PATH`, `/PATH` or `tcp://HOST:PORT`.
pub fn check(at: &str) -> Result<(), String> {
    endpoint(at).map(|_| ())
}

fn endpoint(at: &str) -> Result<Endpoint, String> {
    let path = at.strip_prefix("unix://").unwrap_or(at);
    if path.starts_with('/') {
        return Ok(Endpoint::Unix(PathBuf::from(path)));
    }
    let why = "an engine is at unix:///PATH or tcp://HOST:PORT, where it speaks without TLS";
    let parsed = address::parse(at, 2375).map_err(|e| format!("{why}: {e}"))?;
    match (parsed.scheme.as_str(), parsed.endpoints.as_slice()) {
        ("tcp", [one]) if parsed.user.is_none() && parsed.path.is_empty() => Ok(one.clone()),
        _ => Err(why.to_owned()),
    }
}

fn request(method: Method, path: &str) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::try_from(path).map_err(|e| format!("{}: {e}", shown(path)))?;
    Ok(request)
}

/// Status and body.
type Spoken = Result<(StatusCode, Vec<u8>), String>;

async fn ask(at: &Endpoint, method: Method, path: &str, limit: Duration) -> Spoken {
    ask_within(at, method, path, limit, MAX_ANSWER_BYTES).await
}

async fn ask_within(
    at: &Endpoint,
    method: Method,
    path: &str,
    limit: Duration,
    most_bytes: usize,
) -> Spoken {
    let asked = ask_for_much(at, request(method, path)?, most_bytes);
    match tokio::time::timeout(limit, asked).await {
        Ok(answered) => answered,
        Err(_) => Err(format!("{at}: no answer within {} s", limit.as_secs_f32())),
    }
}

/// What is seen of a container.
pub async fn look(container: &Contained, limit: Duration, secrets: &Secrets) -> Sight {
    let at = match endpoint(&container.engine) {
        Ok(at) => at,
        Err(why) => return Sight::unknown(why),
    };
    match ask(&at, Method::GET, &inspection(&container.name), limit).await {
        Ok((status, body)) => container::sight(container, status, &body, secrets),
        Err(why) => Sight::unknown(why),
    }
}

fn inspection(name: &str) -> String {
    format!("/containers/{name}/json")
}

/// Restarts a container, if it still is in the life that was `decided` on. Returns what was done, for people.
pub fn restart(container: &Contained, decided: Option<&Life>) -> Result<String, String> {
    let at = endpoint(&container.engine)?;
    event_loop::start()?.block_on(async {
        let asked = decided.map_or(container.name.as_str(), |life| life.id.as_str());
        let (status, body) = ask(&at, Method::GET, &inspection(asked), PATIENCE).await?;
        let (id, stop_s) = container::may_be_restarted(asked, decided, (status, &body))?;
        let limit = Duration::from_secs(stop_s) + RESTART;
        let path = format!("/containers/{id}/restart?t={stop_s}");
        let (status, body) = ask(&at, Method::POST, &path, limit).await?;
        if status == StatusCode::NO_CONTENT {
            return Ok(format!(
                "container {id} was restarted, with {stop_s} s to end"
            ));
        }
        let said = String::from_utf8_lossy(&body);
        let said = Secrets::default().quote(said.trim(), MAX_QUOTE_CHARS);
        Err(format!("the engine says status {status}: {said}"))
    })
}

/// In a child: reads what is to be looked for, and writes what is there.
pub fn answer(mut input: impl Read, mut output: impl Write) -> Result<(), String> {
    let mut text = String::new();
    input.read_to_string(&mut text).map_err(|e| e.to_string())?;
    let wanted: Use = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let at = endpoint(&wanted.at)?;
    let listed = event_loop::start()?.block_on(list(&at, &wanted.labels));
    let text = serde_json::to_string(&listed).map_err(|e| e.to_string())?;
    output.write_all(text.as_bytes()).map_err(|e| e.to_string())
}

async fn list(at: &Endpoint, labels: &BTreeSet<String>) -> Listed {
    match tokio::time::timeout(PATIENCE, connect::open(at)).await {
        Ok(Ok(_)) => {}
        Ok(Err(why)) => return Listed::Nobody(format!("{at}: {}", NoConnection::text(why))),
        Err(_) => return Listed::Nobody(format!("{at}: no connection within 5 s")),
    }
    let listed = async {
        expect(ask(at, Method::GET, "/_ping", PATIENCE).await)?;
        let mut found = Labelled::new();
        for label in labels {
            let path = listing(label);
            let listed = ask_within(at, Method::GET, &path, PATIENCE, MAX_LIST_BYTES).await;
            let body = expect(listed)?;
            found.insert(label.clone(), names(&body)?);
        }
        Ok(found)
    };
    listed.await.map_or_else(
        |why: String| Listed::Trouble(format!("{at}: {why}")),
        Listed::Found,
    )
}

fn expect(answered: Spoken) -> Result<Vec<u8>, String> {
    match answered? {
        (StatusCode::OK, body) => Ok(body),
        (status, _) => Err(format!("the engine says status {status}")),
    }
}

/// Also those that do not run.
fn listing(label: &str) -> String {
    let filters = serde_json::json!({ "label": [label] }).to_string();
    let mut path = "/containers/json?all=1&filters=".to_owned();
    for byte in filters.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            path.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

fn names(body: &[u8]) -> Result<BTreeSet<String>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct One {
        names: Vec<String>,
    }
    let all: Vec<One> = serde_json::from_slice(body)
        .map_err(|e| format!("the engine's list can't be understood: {e}"))?;
    // A link to it is another name of it, with a slash inside.
    let name = |one: One| {
        let mut names = one
            .names
            .into_iter()
            .filter_map(|name| Some(name.strip_prefix('/')?.to_owned()));
        names.find(|name| !name.contains('/'))
    };
    Ok(all.into_iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_at_a_socket_or_behind_an_address() {
        for (at, shown) in [
            ("/run/docker.sock", "/run/docker.sock"),
            ("unix:///run/podman/podman.sock", "/run/podman/podman.sock"),
            ("tcp://proxy:2375", "proxy:2375"),
            ("tcp://proxy", "proxy:2375"),
        ] {
            assert_eq!(endpoint(at).unwrap().to_string(), shown);
        }
        for at in [
            "ssh://me@host",
            "npipe:////./pipe/docker",
            "docker.sock",
            "tcp://a:1/x",
            "tcp://u@a:1",
            "tcp://a:1,b:2",
            "https://a:2376",
            "",
        ] {
            let said = endpoint(at).unwrap_err();
            assert!(
                said.contains("unix:///PATH or tcp://HOST:PORT"),
                "{at}: {said}"
            );
            assert!(!said.contains('@'), "{said}");
        }
    }

    #[test]
    fn containers_are_listed_by_label_and_known_by_name() {
        assert_eq!(
            listing("ready-keeper=true"),
            "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22ready-keeper%3Dtrue%22%5D%7D"
        );
        let body = br#"[{"Id":"4d","Names":["/web/db","/db"]},{"Id":"5e","Names":["/web"]},{"Id":"6f","Names":[]}]"#;
        assert_eq!(Vec::from_iter(names(body).unwrap()), ["db", "web"]);
        assert!(names(b"{}").is_err());
    }
}
