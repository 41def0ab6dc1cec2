//! The SDK's connection to NATS: async-nats as a plain client, all answers through one inbox.
//!
//! Whoever holds it makes it anew when it is lost, and knows why: async-nats by itself would connect
//! again for ever, without jitter, and deliver then what was given up long ago.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions, Event, HeaderMap, ServerError};
use futures_util::StreamExt;
use tokio::sync::Notify;

use super::{Failure, Link, MOMENT, Replies, Reply, Request};
use crate::connect::Endpoint;
use crate::connect::file;
use crate::connect::nats::{NatsAddress, NatsAuth, seed_in};
use crate::connect::stage;
use crate::connect::tls::{TlsOptions, explain};
use crate::thread;

/// After a connection is lost, async-nats tries once to make another one, which nobody uses any
/// more; a fleet's tries must not come at once.
const LINGER: std::ops::Range<u64> = 1_000..3_000;
/// So many errors of the server are remembered until somebody asks for them; async-nats drops what
/// exceeds 128 at once.
const MAX_ERRORS: usize = 128;
/// So much is asked together where some of it may be denied, so that no denial is dropped.
const CAUTIOUS: usize = 100;
/// How long async-nats's try waits for a thread to resolve names with.
const NO_THREAD_PAUSE: Duration = Duration::from_secs(1);

/// A connection to one NATS server.
#[derive(Debug)]
pub struct NatsClient {
    client: async_nats::Client,
    answers: async_nats::Subscriber,
    /// What all answers' subjects begin with.
    inbox: String,
    /// How many requests were sent so far.
    sent: u64,
    events: Arc<Events>,
    /// The server has denied something on this connection.
    was_denied: bool,
    version: (u64, u64),
}

/// What the server says beside its answers.
#[derive(Debug, Default)]
struct Events {
    connected: AtomicBool,
    lost: AtomicBool,
    /// Errors that nobody has taken notice of.
    errors: Mutex<VecDeque<String>>,
    came: Notify,
}

impl NatsClient {
    /// Connects to one of the address's servers, and logs in. Waits for as long as that takes, at
    /// most 5 s: the caller has the time limit.
    ///
    /// # Errors
    /// [`Failure`]: why it can't be talked to.
    pub async fn connect(
        endpoint: &Endpoint,
        address: &NatsAddress,
        tls: &TlsOptions,
    ) -> Result<Self, Failure> {
        if endpoint.needs_resolver() {
            // async-nats resolves names on tokio's threads, and panics where there are none to be had.
            thread::run(|| ()).await.map_err(Failure::lost)?;
        }
        let events = Arc::new(Events::default());
        let auth = address.auth.clone();
        let options = if auth.is_file() {
            // It may be on somebody else's disk.
            thread::run(move || log_in(&auth))
                .await
                .map_err(Failure::lost)?
        } else {
            log_in(&auth)
        };
        let mut options = options?
            .name("ready-probe-sdk")
            .require_tls(address.tls)
            .ignore_discovered_servers()
            .max_reconnects(1)
            .request_timeout(None);
        let noted = Arc::clone(&events);
        options = options.event_callback(move |event| {
            noted.note(event);
            std::future::ready(())
        });
        let noted = Arc::clone(&events);
        options = options.reconnect_delay_callback(move |_| {
            if noted.connected.load(Ordering::Acquire) {
                Duration::from_millis(fastrand::u64(LINGER))
            } else {
                Duration::ZERO
            }
        });
        if endpoint.needs_resolver() {
            options = options.reconnect_to_server_callback(|_, _| async {
                while thread::run(|| ()).await.is_err() {
                    tokio::time::sleep(NO_THREAD_PAUSE).await;
                }
                None
            });
        }
        // A server may demand TLS on its own. async-nats asks it for the address's host, whatever name the
        // certificate is to hold: it has no other setting for SNI.
        let config = tls
            .client_config()
            .map_err(|e| Failure::lost(format!("TLS: {e}")))?;
        let shows = config.client_auth_cert_resolver.has_certs();
        options = options.tls_client_config(config.as_ref().clone());
        let scheme = if address.tls { "tls" } else { "nats" };
        // async-nats resolves, connects and shakes hands by itself.
        stage::doing(|| connecting(endpoint));
        let client = options
            .connect(format!("{scheme}://{endpoint}"))
            .await
            .map_err(|e| not_connected(&e, endpoint, shows))?;
        events.connected.store(true, Ordering::Release);
        stage::connected(|| endpoint.to_string());
        let inbox = client.new_inbox();
        let answers = client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(Failure::lost)?;
        let version = version(&client.server_info().version);
        Ok(Self {
            client,
            answers,
            inbox,
            sent: 0,
            events,
            was_denied: false,
            version,
        })
    }

    async fn send(&mut self, request: Request) -> Result<u64, Failure> {
        let number = self.sent;
        self.sent += 1;
        let reply = format!("{}.{number}", self.inbox);
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers {
            headers.insert(name, value.as_str());
        }
        let payload = request.payload.into();
        let published = if headers.is_empty() {
            self.client
                .publish_with_reply(request.subject, reply, payload)
                .await
        } else {
            self.client
                .publish_with_reply_and_headers(request.subject, reply, headers, payload)
                .await
        };
        published.map(|()| number).map_err(Failure::lost)
    }

    /// The number of the request that a message answers.
    fn number(&self, subject: &str) -> Option<u64> {
        subject
            .strip_prefix(&self.inbox)?
            .strip_prefix('.')?
            .parse()
            .ok()
    }
}

impl Link for NatsClient {
    async fn ask(&mut self, requests: Vec<Request>) -> Result<Vec<Vec<Reply>>, Failure> {
        let mut requests = requests.into_iter();
        let mut replies = Vec::with_capacity(requests.len());
        while requests.len() > 0 {
            let most = if self.was_denied {
                CAUTIOUS
            } else {
                usize::MAX
            };
            let some = requests.by_ref().take(most).collect();
            replies.extend(self.ask_together(some).await?);
        }
        Ok(replies)
    }

    fn server_version(&self) -> (u64, u64) {
        self.version
    }
}

impl NatsClient {
    async fn ask_together(&mut self, requests: Vec<Request>) -> Result<Vec<Vec<Reply>>, Failure> {
        // Errors about what was given up are of no interest any more.
        self.events.take()?;
        let mut asked = InFlight::default();
        for request in requests {
            let (subject, replies) = (request.subject.clone(), request.replies);
            let number = self.send(request).await?;
            asked.add(number, subject, replies);
        }
        stage::lacks(|| "answer from JetStream".to_owned());
        while !asked.open.is_empty() {
            let message = tokio::select! {
                message = self.answers.next() => message,
                () = tokio::time::sleep(MOMENT), if !asked.is_waiting() => break,
                () = self.events.came.notified() => {
                    for error in self.events.take()? {
                        self.was_denied = true;
                        asked.refused(error)?;
                    }
                    continue;
                }
            };
            let message = message.ok_or_else(|| Failure::lost("connection closed"))?;
            // Not one of these: a late answer to what was given up.
            if let Some(number) = self.number(&message.subject) {
                asked.answered(number, reply(message));
            }
        }
        Ok(asked.replies)
    }
}

/// What was asked together, and the answers so far.
#[derive(Debug, Default)]
struct InFlight {
    /// By number: the requests without their last answer.
    open: BTreeMap<u64, Open>,
    replies: Vec<Vec<Reply>>,
}

#[derive(Debug)]
struct Open {
    place: usize,
    subject: String,
    replies: Replies,
}

impl InFlight {
    fn add(&mut self, number: u64, subject: String, replies: Replies) {
        let place = self.replies.len();
        self.replies.push(Vec::new());
        let open = Open {
            place,
            subject,
            replies,
        };
        self.open.insert(number, open);
    }

    fn is_waiting(&self) -> bool {
        let mut open = self.open.values();
        open.any(|open| open.replies != Replies::Maybe)
    }

    fn answered(&mut self, number: u64, reply: Reply) {
        let Some(open) = self.open.get(&number) else {
            return;
        };
        let is_last = match open.replies {
            Replies::Batch => reply.ends_batch(),
            Replies::One | Replies::Maybe => true,
        };
        if let Some(replies) = self.replies.get_mut(open.place) {
            replies.push(reply);
        }
        if is_last {
            self.open.remove(&number);
        }
    }

    /// A denied permission is said beside the answers, which then never come. It names the subject in
    /// quotes; what names none of ours concerns all.
    fn refused(&mut self, error: String) -> Result<(), Failure> {
        let subject = error.split('"').nth(1).unwrap_or_default();
        let denied = self.open.iter().find(|(_, open)| open.subject == subject);
        let Some((number, _)) = denied else {
            // A subscription: no answer will ever come on this connection.
            return Err(if error.contains("for Subscription") {
                Failure::lost(error)
            } else {
                Failure::answered(error)
            });
        };
        let number = *number;
        self.answered(number, Reply::denied(error));
        Ok(())
    }
}

impl Events {
    fn note(&self, event: Event) {
        let error = match event {
            Event::Disconnected | Event::Closed | Event::LameDuckMode => {
                self.lost.store(true, Ordering::Release);
                None
            }
            Event::ServerError(ServerError::Other(text)) => Some(text),
            Event::ServerError(e) => Some(e.to_string()),
            Event::Connected | Event::Draining | Event::SlowConsumer(_) | Event::ClientError(_) => {
                return;
            }
        };
        if let Some(error) = error {
            let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
            errors.push_back(error);
            if errors.len() > MAX_ERRORS {
                errors.pop_front();
            }
        }
        self.came.notify_one();
    }

    /// What the server has said beside its answers, or that it is lost.
    fn take(&self) -> Result<VecDeque<String>, Failure> {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lost.load(Ordering::Acquire) {
            let last = errors.pop_back();
            return Err(Failure::lost(
                last.unwrap_or_else(|| "connection closed".to_owned()),
            ));
        }
        Ok(std::mem::take(&mut *errors))
    }
}

fn log_in(auth: &NatsAuth) -> Result<ConnectOptions, Failure> {
    let text = |what: &str, path: &std::path::Path| {
        file::read_text(path).map_err(|e| Failure::lost(format!("{what}: {e}")))
    };
    // async-nats takes no userinfo from the address.
    Ok(match auth {
        NatsAuth::None => ConnectOptions::new(),
        NatsAuth::Password { user, password } => {
            ConnectOptions::with_user_and_password(user.clone(), password.reveal().to_owned())
        }
        NatsAuth::Token(token) => ConnectOptions::with_token(token.reveal().to_owned()),
        NatsAuth::TokenFile(path) => ConnectOptions::with_token(text("token_file", path)?),
        NatsAuth::Nkey(path) => ConnectOptions::with_nkey(seed_in(&text("nkey", path)?).to_owned()),
        NatsAuth::Creds(path) => {
            // async-nats wants the last line to end.
            let creds = format!("{}\n", text("creds", path)?);
            ConnectOptions::with_credentials(&creds)
                .map_err(|_| Failure::lost(format!("creds: {}: no credentials", path.display())))?
        }
    })
}

/// What async-nats is about until there is a connection.
fn connecting(endpoint: &Endpoint) -> String {
    if endpoint.needs_resolver() {
        format!("resolving or connecting to {endpoint}")
    } else {
        format!("connecting to {endpoint}")
    }
}

fn not_connected(e: &ConnectError, endpoint: &Endpoint, shows_certificate: bool) -> Failure {
    if let Some(said) = explain(e, shows_certificate) {
        return Failure::lost(said);
    }
    let source = std::error::Error::source(e).map(ToString::to_string);
    let source = source.unwrap_or_default();
    Failure::lost(match e.kind() {
        ConnectErrorKind::AuthorizationViolation => "Authorization Violation".to_owned(),
        ConnectErrorKind::Authentication => {
            "the server does not accept this way to log in".to_owned()
        }
        ConnectErrorKind::Dns => format!("DNS: {source}"),
        ConnectErrorKind::TimedOut => {
            format!("no answer within 5s ({})", connecting(endpoint))
        }
        ConnectErrorKind::Tls => format!("TLS: {source}"),
        ConnectErrorKind::Io if source.contains("refused") => "connection refused".to_owned(),
        ConnectErrorKind::Io | ConnectErrorKind::ServerParse | ConnectErrorKind::MaxReconnects => {
            if source.is_empty() {
                e.to_string()
            } else {
                source
            }
        }
    })
}

/// `2.15.1` → (2, 15).
fn version(text: &str) -> (u64, u64) {
    let mut parts = text.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn reply(message: async_nats::Message) -> Reply {
    let headers = message.headers.unwrap_or_default();
    let headers = headers.iter().flat_map(|(name, values)| {
        let values = values.iter();
        values.map(|value| (name.to_string(), value.as_str().to_owned()))
    });
    Reply {
        status: message.status.map(|status| status.as_u16()),
        description: message.description.unwrap_or_default(),
        headers: headers.collect(),
        payload: message.payload.to_vec(),
    }
}
