//! The SDK's connection to Redis: the redis crate's multiplexed connection, over a stream that
//! breaks when a server sends without end.
//!
//! It never reconnects by itself: whoever holds it does, and knows why.

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, ProtocolVersion, RedisConnectionInfo,
    RedisError, Value,
};
use tokio::task::AbortHandle;

use super::{CommandLink, Failure, SMALL_REPLY_BYTES};
use crate::connect::Endpoint;
use crate::connect::open;
use crate::connect::read_limit::{Allowance, Broken, Limited};
use crate::connect::redact::Secrets;
use crate::connect::redis::RedisAddress;
use crate::connect::stage;
use crate::connect::tls::TlsOptions;

/// A connection to one Redis server.
#[derive(Debug)]
pub struct RedisClient {
    connection: MultiplexedConnection,
    /// How many bytes the server may still send.
    allowance: Allowance,
    /// Why the connection broke, when it has.
    broken: Broken,
    driver: AbortHandle,
}

impl RedisClient {
    /// Connects to one of the address's servers, and logs in. Waits for as long as that takes: the
    /// caller has the time limit.
    ///
    /// # Errors
    /// [`Failure`]: why it can't be talked to.
    pub async fn connect(
        endpoint: &Endpoint,
        address: &RedisAddress,
        tls: &TlsOptions,
    ) -> Result<Self, Failure> {
        let tls = address.tls.then(|| open::tls_config(tls)).transpose();
        let tls = tls.map_err(Failure::lost)?;
        let opened = open::open(endpoint).await;
        let mut stream = opened.map_err(|e| Failure::lost(e.text()))?;
        if let Some(tls) = tls {
            // What is quoted here is looked through by whoever shows it.
            let secured = open::secure(stream, endpoint, tls, &Secrets::default()).await;
            stream = secured.map_err(Failure::lost)?;
        }
        let limited = Limited::new(stream, 4 * SMALL_REPLY_BYTES);
        let (allowance, broken) = (limited.allowance(), limited.broken());
        // Time limits are the caller's.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let login = login(address);
        if address.user.is_some() || address.password.is_some() {
            stage::lacks(|| "reply to AUTH".to_owned());
        } else if address.db != 0 {
            stage::lacks(|| "reply to SELECT".to_owned());
        }
        let (connection, driver) = MultiplexedConnection::new_with_config(&login, limited, config)
            .await
            .map_err(|e| failure(&e, &broken))?;
        Ok(Self {
            connection,
            allowance,
            broken,
            driver: tokio::spawn(driver).abort_handle(),
        })
    }
}

impl Drop for RedisClient {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl CommandLink for RedisClient {
    async fn exchange(
        &mut self,
        commands: &[Cmd],
        max_bytes: usize,
    ) -> Result<Vec<Value>, Failure> {
        stage::lacks(|| reply_name(commands));
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        self.allowance.set(max_bytes);
        let replies = self
            .connection
            .send_packed_commands(&pipeline, 0, commands.len())
            .await
            .map_err(|e| failure(&e, &self.broken))?;
        if replies.len() == commands.len() {
            return Ok(replies);
        }
        Err(super::too_few())
    }
}

/// What is waited for, by the first of the commands: all are sent together.
fn reply_name(commands: &[Cmd]) -> String {
    let first = commands
        .first()
        .and_then(|command| command.args_iter().next());
    match first {
        Some(redis::Arg::Simple(name)) => format!("reply to {}", String::from_utf8_lossy(name)),
        Some(redis::Arg::Cursor | _) | None => "reply".to_owned(),
    }
}

/// A name for the client would be a round trip that nobody reads.
fn login(address: &RedisAddress) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP2)
        .set_skip_set_lib_name()
        .set_db(i64::from(address.db));
    if let Some(user) = &address.user {
        login = login.set_username(user).set_password("");
    }
    match &address.password {
        Some(password) => login.set_password(password.reveal()),
        None => login,
    }
}

/// An error of the server that came instead of a reply, or the connection's own.
fn failure(e: &RedisError, broken: &Broken) -> Failure {
    // The crate keeps to itself what the server said of it.
    if e.kind() == ErrorKind::AuthenticationFailed {
        return Failure::lost("the server refuses the user or the password");
    }
    match (e.code(), e.detail()) {
        (Some(code), detail) => Failure::lost(format!("{code} {}", detail.unwrap_or_default())),
        (None, _) if e.is_connection_dropped() => {
            Failure::lost(broken.why().unwrap_or("connection closed"))
        }
        (None, _) => Failure::lost(e),
    }
}
