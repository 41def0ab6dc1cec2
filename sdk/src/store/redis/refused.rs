//! What Redis's replies to writes mean: a record stored or refused (NOPERM, OOM), or a connection
//! to give up (READONLY, NOAUTH).

use redis::Value;

use crate::store::{Failure, Stored};

/// The replies to one record's commands: the first refusal, if there is one.
pub(super) fn all_stored(replies: &[Value]) -> Result<Stored, Failure> {
    for reply in replies {
        if let Err(refused) = stored(reply)? {
            return Ok(Err(refused));
        }
    }
    Ok(Ok(None))
}

/// One reply to a write. An error of the whole connection is a failure; any other may concern this
/// record alone, such as a key that an ACL does not allow.
pub(super) fn stored(reply: &Value) -> Result<Stored, Failure> {
    match (reply, error(reply)) {
        (_, Some(failure)) if failure.reconnect => Err(failure),
        (_, Some(refused)) => Ok(Err(refused.cause)),
        (Value::Okay | Value::Int(_), None) => Ok(Ok(None)),
        (Value::SimpleString(queued), None) if queued == "QUEUED" => Ok(Ok(None)),
        (Value::Array(replies), None) => all_stored(replies),
        (_, None) => Err(no_redis()),
    }
}

/// An error of the server. `READONLY`, `MASTERDOWN` and their like are signs of a failover: by now
/// the name leads to another server.
pub(super) fn error(reply: &Value) -> Option<Failure> {
    let Value::ServerError(e) = reply else {
        return None;
    };
    let text = format!("{} {}", e.code(), e.details().unwrap_or_default());
    Some(match e.code() {
        "READONLY" | "MOVED" | "ASK" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN"
        | "UNKILLABLE" | "NOAUTH" | "WRONGPASS" | "NOREPLICAS" => Failure::lost(text),
        _ => Failure::answered(text),
    })
}

pub(super) fn texts(reply: &Value) -> Result<Vec<String>, Failure> {
    let items = match reply {
        Value::Array(items) | Value::Set(items) => items,
        _ => return Err(no_redis()),
    };
    items
        .iter()
        .map(|item| match item {
            Value::BulkString(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            _ => Err(no_redis()),
        })
        .collect()
}

pub(super) fn no_redis() -> Failure {
    Failure::lost("it does not speak the Redis protocol")
}

pub(super) fn too_few() -> Failure {
    Failure::lost("it answers fewer questions than were asked")
}
