//! What was typed, exported and configured, resolved into what it means.
//!
//! The command line beats the environment, which beats the file. A value that is set and can't be
//! used is always an error that says where it was set; it is never silently the default.

mod checks;
pub mod env;
mod file;
mod flags;
mod origin;
mod precedence;
pub mod without_file;

use std::path::Path;
use std::time::Duration;

use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::connect::store::{
    DEFAULT_NAMESPACE, NAMESPACE_VARIABLE, STORE_VARIABLE, StoreAddress,
};
use ready_probe_sdk::folder::{DIR_VARIABLE, Folder};
use ready_probe_sdk::signal::Name;

use crate::grace::{self, Grace};
use crate::redact::{Secrets, shown};
use crate::target::Target;
use crate::time_limit;
use checks::{SERVERS, agents, listed, servers};
use env::Env;
use file::ConfigFile;
pub use file::DEFAULT_PATH as DEFAULT_FILE;
pub use flags::Flags;
pub use origin::{Invalid, Origin, Setting};
use precedence::{first_of, switch, typed};

/// The default deadline of a run: HEALTHCHECK's own default is 30 s, a kubelet's and most people's
/// is shorter.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The default grace.
const DEFAULT_GRACE: Grace = Grace::For(Duration::from_secs(180));

const CONFIG_VARIABLE: &str = "READY_CONFIG";

/// The variables that name files to read.
const FILE_VARIABLES: [&str; 4] = [
    CONFIG_VARIABLE,
    "READY_STORE_FILE",
    "REDIS_URL_FILE",
    "NATS_URL_FILE",
];

/// Everything that a run needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The overall deadline, counted from the start of the process.
    pub timeout: Setting<Duration>,
    /// The grace of dependencies that have none of their own.
    pub grace: Setting<Grace>,
    /// The folder of signals.
    pub folder: Setting<Folder>,
    /// The store of everybody's signals, if there is one.
    pub place: Option<Setting<Place>>,
    /// Where the namespace in it was set.
    pub namespace: Origin,
    /// How to report.
    pub format: Setting<Format>,
    /// Print nothing when healthy.
    pub quiet: Setting<bool>,
    /// Say on stderr what happens.
    pub verbose: Setting<bool>,
    /// What to check.
    pub checks: Vec<Setting<Target>>,
    /// Whether to check every agent that has published, since none is named.
    pub discover: bool,
    /// Where it was set that this container has no agents, if it was.
    pub without_agents: Option<Origin>,
    /// What must not be printed.
    pub secrets: Secrets,
}

/// How to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For Prometheus.
    Prometheus,
}

impl Settings {
    /// Resolves the settings of one run.
    pub fn resolve(options: &Flags, targets: &[String], env: &Env<'_>) -> Result<Self, Invalid> {
        let (mut settings, in_file) = Self::common(options, env)?;
        settings.add_checks(options, targets, env, in_file)?;
        Ok(settings)
    }

    /// Resolves the settings of a command that checks nothing: the targets are not looked at.
    pub fn resolve_alone(options: &Flags, env: &Env<'_>) -> Result<Self, Invalid> {
        Ok(Self::common(options, env)?.0)
    }

    /// What every command needs, and the checks that the file names.
    fn common(options: &Flags, env: &Env<'_>) -> Result<(Self, Checked), Invalid> {
        let mut secrets = Secrets::default();
        let named = typed("--config", &options.config).or(env.variable("READY_CONFIG")?);
        let file = ConfigFile::load(named.as_ref(), &|name| env.text(name), &mut secrets)?;
        let first = |flag, typed_value: &Option<String>, variable, in_file| {
            first_of(typed(flag, typed_value), env, variable, in_file)
        };

        let timeout = timeout(options, env, file.timeout)?;
        let grace = first("--grace", &options.grace, "READY_GRACE", file.grace)?
            .map(|s| s.parse(|text| grace::parse(text)))
            .transpose()?
            .unwrap_or(Setting::default_of(DEFAULT_GRACE));
        let format = first("--format", &options.format, "READY_FORMAT", file.format)?
            .map(|s| s.parse(|text| format(text)))
            .transpose()?
            .unwrap_or(Setting::default_of(Format::Text));
        let folder = first("--dir", &options.dir, DIR_VARIABLE, file.dir)?
            .map(|s| s.parse(|dir| Folder::at(Path::new(dir)).map_err(|e| e.to_string())))
            .transpose()?
            .unwrap_or(Setting::default_of(Folder::default()));
        let (place, namespace) = place(options, env, file.store, file.namespace, &mut secrets)?;
        let quiet = switch("--quiet", options.quiet, env, "READY_QUIET", file.quiet)?;
        let verbose = switch(
            "--verbose",
            options.verbose,
            env,
            "READY_VERBOSE",
            file.verbose,
        )?;

        let settings = Self {
            timeout,
            grace,
            folder,
            place,
            namespace,
            format,
            quiet,
            verbose,
            checks: Vec::new(),
            discover: false,
            without_agents: None,
            secrets,
        };
        Ok((settings, (file.agent, file.checks)))
    }

    fn add_checks(
        &mut self,
        options: &Flags,
        targets: &[String],
        env: &Env<'_>,
        (agents_in_file, checks_in_file): Checked,
    ) -> Result<(), Invalid> {
        let named_agents = agents(options, env, agents_in_file)?;
        self.without_agents = named_agents
            .as_ref()
            .filter(|agents| agents.value.is_empty())
            .map(|agents| agents.origin.clone());
        // Targets on the command line replace those of the environment and the file, but nothing
        // else on the command line.
        let named_agents =
            named_agents.filter(|agents| targets.is_empty() || agents.origin.is_typed());
        let mut checks: Vec<Setting<Target>> = Vec::new();
        if let Some(agents) = &named_agents {
            checks.extend(
                agents
                    .value
                    .iter()
                    .map(|name| Setting::new(Target::agent(name.clone()), agents.origin.clone())),
            );
        }
        let secrets = &mut self.secrets;
        if targets.is_empty() {
            checks.extend(servers(env, secrets)?);
            checks.extend(listed(env, secrets)?);
            checks.extend(checks_in_file);
        }
        for text in targets {
            let origin = Origin::Flag("TARGET");
            let target = Target::parse_typed(text, &|name| env.text(name), secrets)
                .map_err(|e| Invalid::target(&origin, e))?;
            checks.push(Setting::new(target, origin));
        }
        if !targets.is_empty() {
            // What they replace must be usable all the same.
            listed(env, secrets)?;
            for (_, switch, _) in SERVERS {
                env.switch(switch, true)?;
            }
        }
        if self.place.is_none()
            && let Some(check) = checks.iter().find(|check| check.value.asks_store())
        {
            let why = format!(
                "{}: set READY_STORE (or --store) to the store where that agent is announced",
                check.value.redacted
            );
            return Err(Invalid::new(&check.origin, why));
        }
        if let (Some(agents), true) = (&named_agents, checks.is_empty()) {
            let why = "it says that there are no agents, and nothing else is to be checked";
            return Err(Invalid::new(&agents.origin, why));
        }
        self.discover = targets.is_empty() && named_agents.is_none();
        self.checks = checks;
        Ok(())
    }
}

/// The agents and checks that the file names.
type Checked = (Option<Setting<Vec<String>>>, Vec<Setting<Target>>);

fn timeout(
    options: &Flags,
    env: &Env<'_>,
    in_file: Option<Setting<String>>,
) -> Result<Setting<Duration>, Invalid> {
    let typed = typed("--timeout", &options.timeout);
    Ok(first_of(typed, env, "READY_TIMEOUT", in_file)?
        .map(|s| s.parse(|text| time_limit::parse(text)))
        .transpose()?
        .unwrap_or(Setting::default_of(DEFAULT_TIMEOUT)))
}

/// `READY_STORE`, and the namespace in it.
fn place(
    options: &Flags,
    env: &Env<'_>,
    store_in_file: Option<Setting<String>>,
    namespace_in_file: Option<Setting<String>>,
    secrets: &mut Secrets,
) -> Result<(Option<Setting<Place>>, Origin), Invalid> {
    let named = first_of(
        typed("--namespace", &options.namespace),
        env,
        NAMESPACE_VARIABLE,
        namespace_in_file,
    )?;
    let namespace = match named {
        Some(named) => named.parse(|name| Name::new(name).map_err(|e| e.to_string()))?,
        None => Setting::default_of(DEFAULT_NAMESPACE)
            .parse(|name| Name::new(name).map_err(|e| e.to_string()))?,
    };
    let max_age = env.max_age()?;
    let store = match typed("--store", &options.store) {
        Some(typed) => Some(typed),
        None => env.address(STORE_VARIABLE)?.or(store_in_file),
    };
    let Some(store) = store else {
        return Ok((None, namespace.origin));
    };
    let address = store.parse(|text| StoreAddress::parse(text).map_err(|e| e.to_string()))?;
    address
        .value
        .secrets()
        .for_each(|secret| secrets.add(secret));
    let place = Place::new(address.value, namespace.value, max_age);
    let place = Setting::new(place, address.origin);
    Ok((Some(place), namespace.origin))
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        "prometheus" => Ok(Format::Prometheus),
        _ => Err(format!(
            "{} is no format; there are text, json and prometheus",
            shown(text)
        )),
    }
}
