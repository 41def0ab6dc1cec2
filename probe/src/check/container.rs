//! Does a container run, and is it healthy? Its engine is asked, over Docker's API, which Podman has as well. Only an
//! engine that answers knows: whatever else comes is no "no", or an engine that is busy would have all of its
//! containers restarted.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};

use super::{after_colon, json_pointer};
use crate::link::http::ask_once;
use crate::outcome::Outcome;
use crate::redact::Secrets;
use crate::target::ContainerTarget;

/// As many characters of an id as `docker ps` shows.
const SHORT_ID: usize = 12;
/// How much of what it says is quoted.
const MAX_QUOTE_CHARS: usize = 200;

/// `container:`
pub async fn ask(target: &ContainerTarget, secrets: &Secrets) -> Outcome {
    let mut request = Request::new(Full::new(Bytes::new()));
    // Without a version it is the engine's own.
    match Uri::try_from(format!("/containers/{}/json", target.name)) {
        Ok(uri) => *request.uri_mut() = uri,
        Err(e) => return Outcome::unknown(format!("its name can't be sent: {e}")),
    }
    match ask_once(&target.at, request).await {
        Ok((status, body)) => judge(&target.name, status, &body, secrets),
        Err(cause) => Outcome::Unknown(cause),
    }
}

/// What an engine's answer says about the container that was asked for.
pub fn judge(asked: &str, status: StatusCode, body: &[u8], secrets: &Secrets) -> Outcome {
    let at = |pointer: &str| {
        json_pointer::find(body, pointer)
            .ok()
            .flatten()
            .unwrap_or_default()
    };
    if status == StatusCode::OK {
        return if is_meant(asked, &at("/Name"), &at("/Id")) {
            judge_state(at, secrets)
        } else if at("/Name").is_empty() {
            Outcome::unknown("the engine does not say which container it tells of")
        } else {
            Outcome::fail("no such container")
        };
    }
    let message = at("/message");
    // A path that is not there is 404 as well: another program's, or a proxy's.
    if status == StatusCode::NOT_FOUND && message.to_ascii_lowercase().contains("no such container")
    {
        return Outcome::fail("no such container");
    }
    let message = after_colon(&secrets.quote(&message, MAX_QUOTE_CHARS));
    Outcome::unknown(format!("the engine says status {status}{message}"))
}

/// Whether the container with this name and id was asked for. An engine takes a name that nobody has for the beginning
/// of an id, and then tells of somebody else.
pub fn is_meant(asked: &str, name: &str, id: &str) -> bool {
    let is_id = asked.len() >= SHORT_ID && id.starts_with(asked);
    name.strip_prefix('/').unwrap_or(name) == asked || is_id
}

/// The states of <https://docs.docker.com/reference/api/engine/>; Podman says `stopped` as well.
fn judge_state(at: impl Fn(&str) -> String, secrets: &Secrets) -> Outcome {
    let state = at("/State/Status");
    match state.as_str() {
        "running" => judge_health(at, secrets),
        "paused" => Outcome::by_hand(state),
        "restarting" => Outcome::starting(match exit_status(&at) {
            Some(status) => format!("{state}, its last exit status is {status}"),
            None => state,
        }),
        "exited" | "stopped" => {
            let memory = match at("/State/OOMKilled").as_str() {
                "true" => ", out of memory",
                _ => "",
            };
            Outcome::fail(match exit_status(&at) {
                Some(status) => format!("exited with status {status}{memory}"),
                None => format!("exited{memory}"),
            })
        }
        "created" => Outcome::fail("created, and never started"),
        "dead" | "removing" => Outcome::fail(state),
        _ => Outcome::unknown("the engine tells no state that is known"),
    }
}

fn exit_status(at: impl Fn(&str) -> String) -> Option<i64> {
    at("/State/ExitCode").parse().ok()
}

fn judge_health(at: impl Fn(&str) -> String, secrets: &Secrets) -> Outcome {
    match at("/State/Health/Status").as_str() {
        "" | "none" => Outcome::Pass("it runs; it has no health check".to_owned()),
        "healthy" => Outcome::pass(),
        "starting" => Outcome::starting("its health check has not passed yet"),
        "unhealthy" => {
            let output = |number: usize| at(&format!("/State/Health/Log/{number}/Output"));
            // Docker keeps five, the last one last.
            let last = (0..5).rev().map(output).find(|output| !output.is_empty());
            match secrets.quote(&last.unwrap_or_default(), MAX_QUOTE_CHARS) {
                said if said.is_empty() => Outcome::fail("unhealthy"),
                // A probe's report begins so as well.
                said => Outcome::fail(format!(
                    "unhealthy: {}",
                    said.strip_prefix("unhealthy: ").unwrap_or(&said)
                )),
            }
        }
        _ => Outcome::unknown("the engine tells no health that is known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(status: u16, body: &str) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap();
        super::judge("web", status, body.as_bytes(), &Secrets::default())
    }

    #[test]
    fn truth_table_of_states() {
        let state = |state: &str| judge(200, &format!("{{\"Name\":\"/web\",\"State\":{state}}}"));
        let health = |health: &str| {
            state(&format!(
                "{{\"Status\":\"running\",\"Running\":true,\"Health\":{health}}}"
            ))
        };
        let unhealthy = r#"{"Status":"unhealthy","Log":[{"Output":"a"},{"Output":"unhealthy: agent:x: gone\n"}]}"#;
        for (outcome, want) in [
            (health(r#"{"Status":"healthy"}"#), Outcome::pass()),
            (
                health(r#"{"Status":"starting"}"#),
                Outcome::starting("its health check has not passed yet"),
            ),
            (health(unhealthy), Outcome::fail("unhealthy: agent:x: gone")),
            (
                health(r#"{"Status":"unhealthy"}"#),
                Outcome::fail("unhealthy"),
            ),
            (
                health(r#"{"Status":"none"}"#),
                Outcome::Pass("it runs; it has no health check".into()),
            ),
            (
                health("null"),
                Outcome::Pass("it runs; it has no health check".into()),
            ),
            (
                health(r#"{"Status":"new"}"#),
                Outcome::unknown("the engine tells no health that is known"),
            ),
            // A check's last word is old news then.
            (
                state(r#"{"Status":"paused","Running":true,"Health":{"Status":"healthy"}}"#),
                Outcome::by_hand("paused"),
            ),
            (
                state(r#"{"Status":"restarting","ExitCode":3}"#),
                Outcome::starting("restarting, its last exit status is 3"),
            ),
            (
                state(r#"{"Status":"exited","ExitCode":0}"#),
                Outcome::fail("exited with status 0"),
            ),
            (
                state(r#"{"Status":"exited","ExitCode":137,"OOMKilled":true}"#),
                Outcome::fail("exited with status 137, out of memory"),
            ),
            (
                state(r#"{"Status":"stopped","ExitCode":1}"#),
                Outcome::fail("exited with status 1"),
            ),
            (
                state(r#"{"Status":"created"}"#),
                Outcome::fail("created, and never started"),
            ),
            (state(r#"{"Status":"dead"}"#), Outcome::fail("dead")),
            (state(r#"{"Status":"removing"}"#), Outcome::fail("removing")),
            (
                state(r#"{"Status":"new"}"#),
                Outcome::unknown("the engine tells no state that is known"),
            ),
        ] {
            assert_eq!(outcome, want);
        }
    }

    #[test]
    fn a_container_is_asked_for_by_its_name_or_by_an_id() {
        let id = "4d8e0c1b2a3f99";
        for (asked, name, want) in [
            ("web", "/web", true),
            ("web", "web", true),
            ("web", "/web2", false),
            ("4d8e0c1b2a3f", "/other", true),
            (id, "/other", true),
            ("4d8e0c1b2a3", "/other", false),
            ("4d8e", "/other", false),
            ("4d8e", "/4d8e", true),
        ] {
            assert_eq!(is_meant(asked, name, id), want, "{asked} {name}");
        }
    }

    /// Only the engine's own word for it says that a container is not there.
    #[test]
    fn truth_table_of_errors() {
        for (status, body, want) in [
            (
                404,
                r#"{"message":"No such container: web"}"#,
                "fail no such container",
            ),
            (
                404,
                r#"{"cause":"no such container","message":"no container with name or ID \"web\" found: no such container"}"#,
                "fail no such container",
            ),
            (
                404,
                r#"{"message":"page not found"}"#,
                "unknown the engine says status 404 Not Found: page not found",
            ),
            (
                404,
                "not found",
                "unknown the engine says status 404 Not Found",
            ),
            (403, "", "unknown the engine says status 403 Forbidden"),
            (
                500,
                r#"{"message":"context deadline exceeded"}"#,
                "unknown the engine says status 500 Internal Server Error: context deadline exceeded",
            ),
            (
                500,
                r#"{"message":"No such container: web"}"#,
                "unknown the engine says status 500 Internal Server Error: No such container: web",
            ),
            (
                200,
                "",
                "unknown the engine does not say which container it tells of",
            ),
            (
                200,
                r#"{"Name":"/web","State":{"Status":"runn"#,
                "unknown the engine does not say which container it tells of",
            ),
            (
                200,
                r#"{"Name":"/web","State":{}}"#,
                "unknown the engine tells no state that is known",
            ),
            // Asked for by a name that is the beginning of its id.
            (
                200,
                r#"{"Id":"web8e","Name":"/other","State":{"Status":"running"}}"#,
                "fail no such container",
            ),
            (
                200,
                r#"{"Name":"/web","State":{"Status":"exited","ExitCode":"x\n  pass y"}}"#,
                "fail exited",
            ),
        ] {
            let outcome = judge(status, body);
            assert_eq!(format!("{} {}", outcome.word(), outcome.text()), want);
        }
    }
}
