//! The options of every command, as typed.

use clap::Args;

/// Options of every command. Each is also a variable, `READY_…`, and (but for `config`) a key of
/// the file; the command line beats the environment, which beats the file.
#[derive(Debug, Default, Args)]
pub struct Flags {
    /// Overall deadline, 5s by default; keep it below HEALTHCHECK's --timeout [env: READY_TIMEOUT]
    #[arg(long, global = true, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// How long a dependency that has passed may be unreachable, 180s by default, or forever
    /// [env: READY_GRACE]
    #[arg(long, global = true, value_name = "DURATION")]
    pub grace: Option<String>,
    /// The agents that must be ready, comma separated, or off if there are none; by default all
    /// that have published [env: READY_AGENT]
    #[arg(long, global = true, value_name = "NAMES")]
    pub agent: Option<String>,
    /// The folder of this container's signals, by default /dev/shm/ready-probe or
    /// /tmp/ready-probe [env: READY_DIR]
    #[arg(long, global = true, value_name = "PATH")]
    pub dir: Option<String>,
    /// The store where agents announce their signals for everybody: redis://…, rediss://…,
    /// redis+unix:///…, valkey://…, valkeys://…, unix:///…, nats://… or tls://… [env: READY_STORE]
    #[arg(long, global = true, value_name = "URL")]
    pub store: Option<String>,
    /// The namespace in the store, which keeps fleets apart; `default` unless set [env: READY_NAMESPACE]
    #[arg(long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The configuration file, by default /etc/ready-probe.toml if it exists [env: READY_CONFIG]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<String>,
    /// How to report: text, json, or prometheus, as its metrics [env: READY_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Print nothing when healthy or degraded, and one line otherwise; metrics are printed all the same [env: READY_QUIET]
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say on stderr what happens [env: READY_VERBOSE]
    #[arg(long, short, global = true)]
    pub verbose: bool,
}
