//! Does Redis answer, and as expected? All commands go out in one write.

use ready_probe_sdk::connect::Endpoint;
use redis::{Cmd, Value};

use crate::link::kept::{KeptFor, Opened};
use crate::link::read_limit::MAX_REPLY_BYTES;
use crate::link::redis::{NO_REDIS, RedisLink, login};
use crate::outcome::Outcome;
use crate::redact::Secrets;
use crate::target::{RedisRole, RedisTarget};

/// The longest message of a server that is quoted.
const MAX_QUOTE_CHARS: usize = 120;
/// How much of a key is shown.
const MAX_KEY_CHARS: usize = 80;

/// What one of the commands is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Auth,
    Select,
    Ping,
    Exists,
    Value,
    Role,
}

impl Step {
    fn command(self) -> &'static str {
        match self {
            Self::Auth => "AUTH",
            Self::Select => "SELECT",
            Self::Ping => "PING",
            Self::Exists => "EXISTS",
            Self::Value => "GETRANGE",
            Self::Role => "ROLE",
        }
    }
}

/// Asks one server, and keeps the connection if it passes.
pub async fn ask(
    target: &RedisTarget,
    endpoint: &Endpoint,
    kept: Option<KeptFor<'_>>,
    secrets: &Secrets,
) -> Outcome {
    let (address, tls) = (&target.address, &target.tls);
    let opened = RedisLink::open(address, tls, endpoint, MAX_REPLY_BYTES, secrets).await;
    let mut link = match opened {
        Ok(link) => link,
        Err(cause) => return Outcome::Unknown(cause),
    };
    let outcome = converse(target, &mut link, &login(address), secrets).await;
    if let Some(kept) = kept.filter(|_| outcome.passes()) {
        kept.put(self::opened(target), link);
    }
    outcome
}

/// Asks again on a connection that has logged in before.
pub async fn ask_again(target: &RedisTarget, link: &mut RedisLink, secrets: &Secrets) -> Outcome {
    converse(target, link, &[], secrets).await
}

/// What its connections are opened with.
pub fn opened(target: &RedisTarget) -> Opened {
    Opened::Redis(target.address.clone(), target.tls.clone())
}

async fn converse(
    target: &RedisTarget,
    link: &mut RedisLink,
    login: &[Cmd],
    secrets: &Secrets,
) -> Outcome {
    let (steps, request) = request(target, login);
    let replies_to: Vec<String> = steps.iter().map(|step| step.command().to_owned()).collect();
    // With `not`, a key of another type is an answer, but the role has to be heard, too.
    let refused =
        |replies: &[Value]| !target.not && matches!(replies.last(), Some(Value::ServerError(_)));
    match link.exchange(&request, &replies_to, refused).await {
        Ok((replies, closed)) => judge(target, &steps, &replies, closed, secrets),
        Err(cause) => Outcome::Unknown(cause),
    }
}

/// The commands of this target behind those that log in, and their bytes.
fn request(target: &RedisTarget, login: &[Cmd]) -> (Vec<Step>, Vec<u8>) {
    let mut steps = Vec::new();
    let mut bytes = Vec::new();
    let mut add = |step: Step, command: &Cmd| {
        steps.push(step);
        bytes.extend(command.get_packed_command());
    };
    for command in login {
        let is_auth = command.args_iter().next() == Some(redis::Arg::Simple(b"AUTH"));
        add(if is_auth { Step::Auth } else { Step::Select }, command);
    }
    add(Step::Ping, &redis::cmd("PING"));
    if let Some(key) = &target.key {
        add(Step::Exists, redis::cmd("EXISTS").arg(key));
        if let Some(value) = &target.value {
            // One byte more than expected shows that a value is longer, however long it is.
            let last = value.len();
            add(
                Step::Value,
                redis::cmd("GETRANGE").arg(key).arg(0).arg(last),
            );
        }
    }
    if target.role.is_some() {
        add(Step::Role, &redis::cmd("ROLE"));
    }
    (steps, bytes)
}

fn judge(
    target: &RedisTarget,
    steps: &[Step],
    replies: &[Value],
    closed: Option<String>,
    secrets: &Secrets,
) -> Outcome {
    let mut unmet = Vec::new();
    for (step, reply) in steps.iter().zip(replies) {
        let outcome = match reply {
            Value::ServerError(e) => judge_error(*step, target, e, secrets),
            answer => judge_answer(*step, target, answer, secrets),
        };
        match outcome {
            Outcome::Pass(_) | Outcome::Blemished(_) => {}
            Outcome::Fail(failure) if target.not => unmet.push((*step, failure.reason)),
            answer @ (Outcome::Fail(_) | Outcome::Unknown(_)) => return answer,
        }
    }
    let caveat = target.tls.caveat().filter(|_| target.address.tls);
    match closed {
        Some(cause) if replies.len() < steps.len() => Outcome::Unknown(cause),
        Some(_) | None if target.not => turned_round(target, unmet, secrets),
        Some(_) | None => Outcome::pass(),
    }
    .with_first_note(caveat.unwrap_or_default())
}

/// No expectation may hold. That a key holds a value is one expectation in two steps.
fn turned_round(target: &RedisTarget, unmet: Vec<(Step, String)>, secrets: &Secrets) -> Outcome {
    let is_met = |steps: &[Step]| !unmet.iter().any(|(step, _)| steps.contains(step));
    if target.key.is_some() && is_met(&[Step::Exists, Step::Value]) {
        let key = key(target, secrets);
        return Outcome::fail(match target.value {
            Some(_) => format!("key {key} holds that value, and must not"),
            None => format!("key {key} exists, and must not"),
        });
    }
    if let Some(role) = target.role
        && is_met(&[Step::Role])
    {
        return Outcome::fail(match role {
            RedisRole::Master => "it is a master, and must not be",
            RedisRole::Replica => "it is a replica, and must not be",
        });
    }
    let first = unmet.into_iter().next();
    Outcome::Pass(first.map(|(_, reason)| reason).unwrap_or_default())
}

fn judge_error(
    step: Step,
    target: &RedisTarget,
    e: &redis::ServerError,
    secrets: &Secrets,
) -> Outcome {
    let said = format!("{} {}", e.code(), e.details().unwrap_or_default());
    match (step, e.code()) {
        (Step::Value, "WRONGTYPE") => {
            Outcome::fail(format!("key {} holds no text", key(target, secrets)))
        }
        (Step::Auth | Step::Select | Step::Ping | Step::Exists | Step::Value | Step::Role, _) => {
            Outcome::Unknown(secrets.quote(said.trim(), MAX_QUOTE_CHARS))
        }
    }
}

fn judge_answer(step: Step, target: &RedisTarget, answer: &Value, secrets: &Secrets) -> Outcome {
    let garbage = || Outcome::unknown(NO_REDIS);
    match (step, answer) {
        (Step::Auth | Step::Select, Value::Okay) => Outcome::pass(),
        (Step::Ping, Value::SimpleString(text)) if text == "PONG" => Outcome::pass(),
        (Step::Exists, Value::Int(0)) => {
            Outcome::fail(format!("key {} does not exist", key(target, secrets)))
        }
        (Step::Exists, Value::Int(_)) => Outcome::pass(),
        (Step::Value, Value::BulkString(is)) => {
            if target
                .value
                .as_ref()
                .is_some_and(|want| want.as_bytes() == is)
            {
                Outcome::pass()
            } else {
                Outcome::fail(format!("key {} holds another value", key(target, secrets)))
            }
        }
        (Step::Role, Value::Array(parts)) => match (parts.first(), target.role) {
            (Some(Value::BulkString(is)), Some(want)) => judge_role(is, want),
            (Some(_) | None, _) => garbage(),
        },
        (Step::Auth | Step::Select | Step::Ping | Step::Exists | Step::Value | Step::Role, _) => {
            garbage()
        }
    }
}

/// The key, for people.
fn key(target: &RedisTarget, secrets: &Secrets) -> String {
    secrets.quote(target.key.as_deref().unwrap_or_default(), MAX_KEY_CHARS)
}

fn judge_role(is: &[u8], want: RedisRole) -> Outcome {
    match (is, want) {
        (b"master", RedisRole::Master) | (b"slave", RedisRole::Replica) => Outcome::pass(),
        (b"slave", RedisRole::Master) => Outcome::fail("it is a replica, not a master"),
        (b"master", RedisRole::Replica) => Outcome::fail("it is a master, not a replica"),
        (_, RedisRole::Master | RedisRole::Replica) => Outcome::fail("it has neither role"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::read_limit::Received;
    use crate::link::redis::decode;
    use crate::target::options::Options;
    use crate::target::{Kind, Target};

    fn verdict(target: &str, wire: &str) -> String {
        let mut secrets = Secrets::default();
        let target = Target::parse(target, Options::default(), &mut secrets).unwrap();
        let Kind::Redis(target) = target.kind else {
            panic!("not a redis target")
        };
        let (steps, _) = request(&target, &login(&target.address));
        let closed = Some("connection closed".to_owned());
        let mut replies = Vec::new();
        let outcome = match decode(
            &mut Received::of(wire.as_bytes()),
            steps.len(),
            u64::MAX,
            &mut replies,
        ) {
            Ok(()) => judge(&target, &steps, &replies, closed, &secrets),
            Err(cause) => Outcome::Unknown(cause),
        };
        format!("{} {}", outcome.word(), outcome.text())
    }

    #[test]
    fn truth_table() {
        let key = "redis://h#key=k&value=v";
        let table = [
            ("redis://h", "+PONG\r\n", "pass "),
            ("redis://h", "", "unknown connection closed"),
            ("redis://h", "+PO", "unknown connection closed"),
            (
                "redis://h",
                "+NOPE\r\n",
                "unknown it does not speak the Redis protocol",
            ),
            (
                "redis://h",
                "HTTP/1.1 400\r\n",
                "unknown it does not speak the Redis protocol",
            ),
            (
                "redis://h",
                "-NOAUTH Authentication required.\r\n",
                "unknown NOAUTH Authentication required.",
            ),
            (
                "redis://h",
                "-LOADING Redis is loading\r\n",
                "unknown LOADING Redis is loading",
            ),
            ("redis://h", "-CLUSTERDOWN x\r\n", "unknown CLUSTERDOWN x"),
            ("redis://h", "-NOPERM no ping\r\n", "unknown NOPERM no ping"),
            (
                "redis://:hunter2@h",
                "-WRONGPASS no hunter2\r\n-NOAUTH x\r\n",
                "unknown WRONGPASS no ***",
            ),
            ("redis://:p@h/3", "+OK\r\n+OK\r\n+PONG\r\n", "pass "),
            (
                "redis://h/99",
                "-ERR DB index is out of range\r\n+PONG\r\n",
                "unknown ERR DB index is out of range",
            ),
            (key, "+PONG\r\n:1\r\n$1\r\nv\r\n", "pass "),
            (
                key,
                "+PONG\r\n:0\r\n$0\r\n\r\n",
                "fail key k does not exist",
            ),
            (
                key,
                "+PONG\r\n:1\r\n$2\r\nvv\r\n",
                "fail key k holds another value",
            ),
            (
                key,
                "+PONG\r\n:1\r\n-WRONGTYPE x\r\n",
                "fail key k holds no text",
            ),
            (
                key,
                "+PONG\r\n-NOPERM x\r\n-NOPERM x\r\n",
                "unknown NOPERM x",
            ),
            (key, "+PONG\r\n:1\r\n", "unknown connection closed"),
            (
                "redis://h#role=master",
                "+PONG\r\n*1\r\n$6\r\nmaster\r\n",
                "pass ",
            ),
            (
                "redis://h#role=master",
                "+PONG\r\n*1\r\n$5\r\nslave\r\n",
                "fail it is a replica, not a master",
            ),
            (
                "redis://h#role=replica",
                "+PONG\r\n*1\r\n$6\r\nmaster\r\n",
                "fail it is a master, not a replica",
            ),
            (
                "redis://h#role=master",
                "+PONG\r\n-NOPERM x\r\n",
                "unknown NOPERM x",
            ),
        ];
        for (target, wire, want) in table {
            assert_eq!(verdict(target, wire), want, "{target} {wire:?}");
        }
    }

    #[test]
    fn truth_table_of_not() {
        let (key, value) = ("redis://h#key=k&not", "redis://h#key=k&value=v&not");
        let both = "redis://h#key=k&role=master&not";
        let master = "+PONG\r\n:0\r\n*1\r\n$6\r\nmaster\r\n";
        let replica = "+PONG\r\n:0\r\n*1\r\n$5\r\nslave\r\n";
        let table = [
            (key, "+PONG\r\n:0\r\n", "pass key k does not exist"),
            (key, "+PONG\r\n:1\r\n", "fail key k exists, and must not"),
            (key, "+PONG\r\n", "unknown connection closed"),
            (key, "", "unknown connection closed"),
            (key, "-LOADING x\r\n", "unknown LOADING x"),
            (key, "+PONG\r\n-NOPERM x\r\n", "unknown NOPERM x"),
            (
                value,
                "+PONG\r\n:0\r\n$0\r\n\r\n",
                "pass key k does not exist",
            ),
            (
                value,
                "+PONG\r\n:1\r\n$1\r\nw\r\n",
                "pass key k holds another value",
            ),
            (
                value,
                "+PONG\r\n:1\r\n$1\r\nv\r\n",
                "fail key k holds that value, and must not",
            ),
            (
                value,
                "+PONG\r\n:1\r\n-WRONGTYPE x\r\n",
                "pass key k holds no text",
            ),
            (value, "+PONG\r\n:1\r\n", "unknown connection closed"),
            (both, master, "fail it is a master, and must not be"),
            (both, replica, "pass key k does not exist"),
            (
                "redis://h#role=replica&not",
                "+PONG\r\n*1\r\n$5\r\nslave\r\n",
                "fail it is a replica, and must not be",
            ),
            (
                "rediss://h#key=k&not&insecure",
                "+PONG\r\n:0\r\n",
                "pass certificate not verified; key k does not exist",
            ),
        ];
        for (target, wire, want) in table {
            assert_eq!(verdict(target, wire), want, "{target} {wire:?}");
        }
    }
}
