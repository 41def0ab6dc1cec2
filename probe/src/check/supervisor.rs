//! Does supervisord's program run? It is asked over XML-RPC: <https://supervisord.org/api.html>.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use ready_probe_sdk::host;

use super::{after_colon, process};
use crate::link::http::ask_once;
use crate::outcome::Outcome;
use crate::redact::Secrets;
use crate::target::SupervisorTarget;

/// How much of what it says is quoted.
const MAX_QUOTE_CHARS: usize = 200;
/// The code of its fault for a name that it does not know: BAD_NAME of supervisor/xmlrpc.py.
const BAD_NAME: &str = "10";
/// What it says of a program that runs.
const OF_PROCESS: &str = "process ";
/// What it is called, as a program and as a module of Python.
const SUPERVISORD: [&str; 2] = ["supervisord", "supervisor.supervisord"];

/// Whose process it has told, and its start, if that process is here and lives.
///
/// A supervisord elsewhere tells a number of its own PID namespace, which is another process here. An address does not
/// rule that out, since containers share sockets and networks; that a supervisord here is its parent does.
pub fn process_of(target: &SupervisorTarget, told: &Outcome) -> Option<(u32, u64)> {
    let pid = match told {
        Outcome::Pass(note) => note.strip_prefix(OF_PROCESS)?.parse().ok()?,
        Outcome::Blemished(_) | Outcome::Fail(_) | Outcome::Unknown(_) => return None,
    };
    let stat = host::stat_of(pid)?;
    (target.at.is_loopback() && process::is_called(stat.ppid, &SUPERVISORD))
        .then_some((pid, stat.start))
}

/// `supervisor:`
pub async fn ask(target: &SupervisorTarget, secrets: &Secrets) -> Outcome {
    let request = match request(target) {
        Ok(request) => request,
        Err(cause) => return Outcome::Unknown(cause),
    };
    match ask_once(&target.at, request).await {
        Ok((status, body)) => judge(status, &String::from_utf8_lossy(&body), secrets),
        Err(cause) => Outcome::Unknown(cause),
    }
}

fn request(target: &SupervisorTarget) -> Result<Request<Full<Bytes>>, String> {
    let body = format!(
        "<?xml version=\"1.0\"?><methodCall><methodName>supervisor.getProcessInfo</methodName><params><param>\
         <value><string>{}</string></value></param></params></methodCall>",
        escaped(&target.program)
    );
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/RPC2");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Some(authorization) = &target.authorization {
        let value = HeaderValue::try_from(authorization.reveal());
        let value = value.map_err(|_| "its user or password can't be sent".to_owned())?;
        headers.insert(AUTHORIZATION, value);
    }
    Ok(request)
}

fn judge(status: StatusCode, answer: &str, secrets: &Secrets) -> Outcome {
    let number = |name: &str| member(answer, name).and_then(|text| text.parse::<i64>().ok());
    let quoted = |name: &str| {
        let text = member(answer, name).unwrap_or_default();
        after_colon(&secrets.quote(&text, MAX_QUOTE_CHARS))
    };
    match (status, member(answer, "faultCode").as_deref()) {
        (StatusCode::OK, None) => {}
        (StatusCode::OK, Some(BAD_NAME)) => {
            // It may be misspelt: a program that is gone is FATAL, EXITED or STOPPED.
            return Outcome::unknown("supervisord knows no program of this name");
        }
        (StatusCode::OK, Some(_)) => {
            let code = number("faultCode").map_or_else(String::new, |code| format!(" {code}"));
            return Outcome::unknown(format!(
                "supervisord says fault{code}{}",
                quoted("faultString")
            ));
        }
        (StatusCode::UNAUTHORIZED, _) => {
            return Outcome::unknown("supervisord wants another user and password");
        }
        (status, _) => {
            return Outcome::unknown(format!("status {status}, which is not supervisord's"));
        }
    }
    let state = member(answer, "statename").unwrap_or_default();
    match state.as_str() {
        "RUNNING" => match number("pid") {
            Some(pid) => Outcome::Pass(format!("{OF_PROCESS}{pid}")),
            None => Outcome::pass(),
        },
        "STARTING" => Outcome::starting(state),
        "BACKOFF" => Outcome::starting(format!("{state}{}", quoted("spawnerr"))),
        // Only a person stops it, or starts what is not started by itself.
        "STOPPED" | "STOPPING" => Outcome::by_hand(format!("{state}{}", quoted("description"))),
        "EXITED" => Outcome::fail(match number("exitstatus") {
            Some(status) => format!("{state} with status {status}"),
            None => state,
        }),
        "FATAL" => Outcome::fail(format!("{state}{}", quoted("spawnerr"))),
        // Supervisord itself does not know: "UNKNOWN".
        _ => Outcome::unknown(format!("supervisord tells no state{}", quoted("statename"))),
    }
}

/// The value of a struct's member: `<name>NAME</name><value><string>TEXT</string></value>`, where the type may be
/// missing. What stands in a text is escaped, so no text holds a member.
fn member(answer: &str, name: &str) -> Option<String> {
    let (_, rest) = answer.split_once(&format!("<name>{name}</name>"))?;
    let (_, rest) = rest.split_once("<value>")?;
    let text = match rest.strip_prefix('<') {
        Some(typed) => typed.split_once('>')?.1,
        None => rest,
    };
    let (text, _) = text.split_once('<')?;
    Some(
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&"),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use ready_probe_sdk::connect::Endpoint;

    use super::*;

    #[test]
    fn a_number_is_a_process_of_ours_only_below_a_supervisord_that_is_here() {
        let at = |host: &str| SupervisorTarget {
            program: "web".to_owned(),
            at: Endpoint::Tcp {
                host: host.to_owned(),
                port: 9001,
            },
            authorization: None,
        };
        let (here, elsewhere) = (at("127.0.0.1"), at("web-1"));
        for (name, is_supervisord) in [("/usr/bin/supervisord", true), ("not-supervisord", false)] {
            let mut shell = Command::new("/bin/sh");
            shell.arg0(name).args(["-c", "sleep 60 & echo $!; wait; :"]);
            let mut parent = shell.stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            let mut stdout = BufReader::new(parent.stdout.take().unwrap());
            stdout.read_line(&mut line).unwrap();
            let pid: u32 = line.trim().parse().unwrap();
            let told = Outcome::Pass(format!("process {pid}"));
            let found = process_of(&here, &told);
            let of_another = process_of(&elsewhere, &told);
            let untold = process_of(&here, &Outcome::pass());
            let started = host::stat_of(pid).unwrap().start;
            for pid in [pid, parent.id()] {
                let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            parent.wait().unwrap();
            assert_eq!(found, is_supervisord.then_some((pid, started)), "{name}");
            assert_eq!((of_another, untold), (None, None));
        }
    }

    /// As xmlrpc.client writes it for supervisord.
    fn told(members: &[(&str, &str)]) -> String {
        let members: String = members
            .iter()
            .map(|(name, value)| {
                format!("<member>\n<name>{name}</name>\n<value>{value}</value>\n</member>\n")
            })
            .collect();
        format!(
            "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><struct>\n{members}</struct></value>\n"
        )
    }

    #[test]
    fn truth_table() {
        let judge = |status: u16, answer: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            judge(status, answer, &Secrets::default())
        };
        let state = |state: &str| {
            told(&[
                ("description", "<string>Nov 28 09:13 AM</string>"),
                ("exitstatus", "<int>3</int>"),
                ("pid", "<int>71</int>"),
                ("spawnerr", "<string>can't find command &lt;x&gt;</string>"),
                ("statename", &format!("<string>{state}</string>")),
            ])
        };
        let fault = |code: u8| {
            let code = format!("<int>{code}</int>");
            told(&[
                ("faultCode", &code),
                ("faultString", "<string>WHY: x</string>"),
            ])
        };
        for (status, answer, want) in [
            (
                200,
                state("RUNNING"),
                Outcome::Pass("process 71".to_owned()),
            ),
            (
                200,
                told(&[("statename", "<string>RUNNING</string>")]),
                Outcome::pass(),
            ),
            (200, state("STARTING"), Outcome::starting("STARTING")),
            (
                200,
                state("BACKOFF"),
                Outcome::starting("BACKOFF: can't find command <x>"),
            ),
            (
                200,
                state("STOPPED"),
                Outcome::by_hand("STOPPED: Nov 28 09:13 AM"),
            ),
            (
                200,
                state("STOPPING"),
                Outcome::by_hand("STOPPING: Nov 28 09:13 AM"),
            ),
            (200, state("EXITED"), Outcome::fail("EXITED with status 3")),
            (
                200,
                state("FATAL"),
                Outcome::fail("FATAL: can't find command <x>"),
            ),
            (
                200,
                state("UNKNOWN"),
                Outcome::unknown("supervisord tells no state: UNKNOWN"),
            ),
            (200, told(&[("statename", "FATAL")]), Outcome::fail("FATAL")),
            (
                200,
                told(&[]),
                Outcome::unknown("supervisord tells no state"),
            ),
            (
                200,
                String::new(),
                Outcome::unknown("supervisord tells no state"),
            ),
            (
                200,
                "<name>statename</name><value>".to_owned(),
                Outcome::unknown("supervisord tells no state"),
            ),
            (
                200,
                fault(10),
                Outcome::unknown("supervisord knows no program of this name"),
            ),
            (
                200,
                fault(6),
                Outcome::unknown("supervisord says fault 6: WHY: x"),
            ),
            (
                401,
                String::new(),
                Outcome::unknown("supervisord wants another user and password"),
            ),
            (
                404,
                state("RUNNING"),
                Outcome::unknown("status 404 Not Found, which is not supervisord's"),
            ),
            (
                500,
                state("FATAL"),
                Outcome::unknown("status 500 Internal Server Error, which is not supervisord's"),
            ),
        ] {
            assert_eq!(judge(status, &answer), want, "{answer}");
        }
    }
}
