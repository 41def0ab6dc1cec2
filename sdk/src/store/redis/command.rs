//! The commands that a Redis store sends.

use redis::{Cmd, cmd};

/// How many commands it takes to add to a set.
pub(super) const ADD_COMMANDS: usize = 5;

/// Adds members to a set, which then lives for at least so long. Expiry is never shortened (`GT`),
/// and a set without one gets it (`NX`): since Redis 7.0. In one transaction: a connection that
/// breaks in between must not leave a set for ever.
pub(super) fn add_to_set(commands: &mut Vec<Cmd>, set: &str, members: &[&str], lifetime_ms: u64) {
    let mut add = cmd("SADD");
    add.arg(set).arg(members);
    commands.extend([cmd("MULTI"), add]);
    for condition in ["NX", "GT"] {
        let mut expire = cmd("PEXPIRE");
        expire.arg(set).arg(lifetime_ms).arg(condition);
        commands.push(expire);
    }
    commands.push(cmd("EXEC"));
}

pub(super) fn key_command(name: &str, key: &str) -> Cmd {
    let mut command = cmd(name);
    command.arg(key);
    command
}

pub(super) fn get(key: &str) -> Cmd {
    key_command("GET", key)
}

pub(super) fn smembers(set: &str) -> Cmd {
    key_command("SMEMBERS", set)
}

pub(super) fn srem(set: &str, members: &[&str]) -> Cmd {
    let mut command = cmd("SREM");
    command.arg(set).arg(members);
    command
}
