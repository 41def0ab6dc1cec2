//! What was typed, exported and configured, resolved into what it means.
//!
//! The command line beats the environment, which beats the file. A value that is set and can't be
//! used is always an error that says where it was set; it is never silently the default.

pub mod env;
mod file;
mod flags;
mod origin;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ready_probe_sdk::connect::place::Place;
use ready_probe_sdk::connect::store::{
    DEFAULT_NAMESPACE, NAMESPACE_VARIABLE, STORE_VARIABLE, StoreAddress,
};
use ready_probe_sdk::folder::{DIR_VARIABLE, Folder};
use ready_probe_sdk::signal::{NO_AGENTS, Name};

use crate::duration::{self, Grace};
use crate::redact::{Secrets, shown};
use crate::target::Target;
use crate::target::options::Options;
use crate::target::variables::Unusable;
use env::Env;
use file::ConfigFile;
pub use file::DEFAULT_PATH as DEFAULT_FILE;
pub use flags::Flags;
pub use origin::{Invalid, Origin, Setting};

/// The overall deadline when nothing else is said: HEALTHCHECK's own default is 30 s, a kubelet's
/// and most people's is shorter.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a dependency may be unreachable when nothing else is said.
const DEFAULT_GRACE: Grace = Grace::For(Duration::from_secs(180));

const CONFIG_VARIABLE: &str = "READY_CONFIG";

/// The variables that name files to read.
const FILE_VARIABLES: [&str; 4] = [
    CONFIG_VARIABLE,
    "READY_STORE_FILE",
    "REDIS_URL_FILE",
    "NATS_URL_FILE",
];

/// Everything that one run needs to know.
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
}

impl Settings {
    /// Resolves the settings of one run.
    pub fn resolve(options: &Flags, targets: &[String], env: &Env<'_>) -> Result<Self, Invalid> {
        let (mut settings, in_file) = Self::common(options, env)?;
        settings.add_checks(options, targets, env, in_file)?;
        Ok(settings)
    }

    /// Resolves the settings of a command that checks nothing: what is to be checked is not looked
    /// at.
    pub fn resolve_alone(options: &Flags, env: &Env<'_>) -> Result<Self, Invalid> {
        Ok(Self::common(options, env)?.0)
    }

    /// What every command needs to know, and what the file says is to be checked.
    fn common(options: &Flags, env: &Env<'_>) -> Result<(Self, Checked), Invalid> {
        let mut secrets = Secrets::default();
        let named = typed("--config", &options.config).or(env.variable("READY_CONFIG")?);
        let file = ConfigFile::load(named.as_ref(), &|name| env.text(name), &mut secrets)?;
        let first = |flag, typed_value: &Option<String>, variable, in_file| {
            first_of(typed(flag, typed_value), env, variable, in_file)
        };

        let timeout = timeout(options, env, file.timeout)?;
        let grace = first("--grace", &options.grace, "READY_GRACE", file.grace)?
            .map(|s| s.parse(|text| duration::grace(text)))
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
        // Targets on the command line replace what the environment and the file name, not what stands
        // beside them on the command line.
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

/// The files that resolving reads or looks for, and where each was set.
pub fn files(options: &Flags, env: &Env<'_>) -> Vec<(String, PathBuf)> {
    let typed = options
        .config
        .as_ref()
        .map(|path| ("--config".to_owned(), path.into()));
    let in_env = FILE_VARIABLES
        .iter()
        .filter(|name| typed.is_none() || **name != CONFIG_VARIABLE)
        .filter_map(|name| Some(((*name).to_owned(), env.path(name)?)));
    let mut files: Vec<(String, PathBuf)> = typed.clone().into_iter().chain(in_env).collect();
    if typed.is_none() && !env.is_set(CONFIG_VARIABLE) {
        files.push(("configuration".to_owned(), PathBuf::from(DEFAULT_FILE)));
    }
    files
}

/// The folder of signals as far as it is known before any file is read.
pub fn folder_without_file(options: &Flags, env: &Env<'_>) -> Folder {
    let typed = options.dir.as_ref().map(PathBuf::from);
    let chosen = typed.or_else(|| env.path(DIR_VARIABLE));
    // A folder that can't be used is told by whoever resolves the settings.
    chosen
        .and_then(|dir| Folder::at(&dir).ok())
        .unwrap_or_default()
}

/// How to report as far as that is known before any file is read.
pub fn format_without_file(options: &Flags, env: &Env<'_>) -> Format {
    let in_env = || Some(env.variable("READY_FORMAT").ok()??.value);
    match options.format.clone().or_else(in_env).as_deref() {
        Some("json") => Format::Json,
        Some(_) | None => Format::Text,
    }
}

/// Whether resolving reads files, which may be on a disk that hangs.
pub fn reads_files(options: &Flags, env: &Env<'_>) -> bool {
    options.config.is_some()
        || FILE_VARIABLES.iter().any(|name| env.is_set(name))
        || ConfigFile::is_there()
}

/// The deadline as far as it is known before any file is read.
pub fn timeout_without_file(options: &Flags, env: &Env<'_>) -> Result<Duration, Invalid> {
    timeout(options, env, None).map(|setting| setting.value)
}

fn timeout(
    options: &Flags,
    env: &Env<'_>,
    in_file: Option<Setting<String>>,
) -> Result<Setting<Duration>, Invalid> {
    let typed = typed("--timeout", &options.timeout);
    Ok(first_of(typed, env, "READY_TIMEOUT", in_file)?
        .map(|s| s.parse(|text| duration::timeout(text)))
        .transpose()?
        .unwrap_or(Setting::default_of(DEFAULT_TIMEOUT)))
}

fn typed(flag: &'static str, value: &Option<String>) -> Option<Setting<String>> {
    let value = value.clone()?;
    Some(Setting::new(value, Origin::Flag(flag)))
}

/// What is set of one setting: the strongest value, and those that it overrides. All must be usable:
/// what is overridden in one place is in force in the next, and is to be found before.
struct Layers {
    strongest: Setting<String>,
    overridden: Vec<Setting<String>>,
}

impl Layers {
    fn parse<U>(self, parse: impl Fn(&String) -> Result<U, String>) -> Result<Setting<U>, Invalid> {
        let strongest = self.strongest.parse(&parse)?;
        for setting in self.overridden {
            setting.parse(&parse)?;
        }
        Ok(strongest)
    }
}

fn first_of(
    typed: Option<Setting<String>>,
    env: &Env<'_>,
    variable: &str,
    in_file: Option<Setting<String>>,
) -> Result<Option<Layers>, Invalid> {
    let all = [typed, env.variable(variable)?, in_file];
    let mut set = all.into_iter().flatten();
    Ok(set.next().map(|strongest| Layers {
        strongest,
        overridden: set.collect(),
    }))
}

fn switch(
    flag: &'static str,
    typed: bool,
    env: &Env<'_>,
    variable: &str,
    in_file: Option<Setting<bool>>,
) -> Result<Setting<bool>, Invalid> {
    let in_env = env.switch(variable, false)?;
    if typed {
        return Ok(Setting::new(true, Origin::Flag(flag)));
    }
    match in_env {
        Setting {
            origin: Origin::Default,
            ..
        } => Ok(in_file.unwrap_or(Setting::default_of(false))),
        set => Ok(set),
    }
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
        _ => Err(format!(
            "{} is no format; there are text and json",
            shown(text)
        )),
    }
}

/// The agents that are named; none at all where it is said that there are none.
fn agents(
    options: &Flags,
    env: &Env<'_>,
    in_file: Option<Setting<Vec<String>>>,
) -> Result<Option<Setting<Vec<Name>>>, Invalid> {
    let one = |setting: Setting<String>| Setting::new(vec![setting.value], setting.origin);
    let in_env = env.variable("READY_AGENT")?;
    let all = [
        typed("--agent", &options.agent).map(one),
        in_env.map(one),
        in_file,
    ];
    let named = all
        .into_iter()
        .flatten()
        .map(|setting| setting.parse(|lists| names(lists)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(named.into_iter().next())
}

fn names(lists: &[String]) -> Result<Vec<Name>, String> {
    let mut names = Vec::new();
    if let [NO_AGENTS] = lists.iter().map(|list| list.trim()).collect::<Vec<_>>()[..] {
        return Ok(names);
    }
    for list in lists {
        let before = names.len();
        for name in list.split(',').map(str::trim).filter(|n| !n.is_empty()) {
            let name = Name::of_agent(name).map_err(|e| e.to_string())?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.len() == before && before == 0 {
            return Err("it names no agent".to_owned());
        }
    }
    Ok(names)
}

/// `REDIS_URL` and `NATS_URL`, which belong to the application too.
fn servers(env: &Env<'_>, secrets: &mut Secrets) -> Result<Vec<Setting<Target>>, Invalid> {
    let mut checks = Vec::new();
    for (variable, switch, parse) in SERVERS {
        if !env.switch(switch, true)?.value {
            continue;
        }
        if let Some(url) = env.address(variable)? {
            let target = url.parse(|text| {
                parse(text, secrets)
                    .map_err(|e| format!("{e}; {switch}=off leaves this variable alone"))
            })?;
            checks.push(target);
        }
    }
    Ok(checks)
}

type ParseUrl = fn(&str, &mut Secrets) -> Result<Target, String>;

/// The application's variables, and what leaves them alone.
const SERVERS: [(&str, &str, ParseUrl); 2] = [
    ("REDIS_URL", "READY_REDIS", Target::redis_of_application),
    ("NATS_URL", "READY_NATS", Target::nats_of_application),
];

/// `READY_CHECKS`: targets, split as a shell splits words.
fn listed(env: &Env<'_>, secrets: &mut Secrets) -> Result<Vec<Setting<Target>>, Invalid> {
    let Some(list) = env.variable("READY_CHECKS")? else {
        return Ok(Vec::new());
    };
    let words = shell_words::split(&list.value)
        .map_err(|_| Invalid::new(&list.origin, "its quotes are not closed"))?;
    words
        .iter()
        .enumerate()
        .map(|(i, word)| {
            if !word.contains(':') && !word.contains("${") {
                return Err(Invalid::new(&list.origin, no_target(i, word)));
            }
            Target::parse_configured(word, Options::default(), &|name| env.text(name), secrets)
                .map(|target| Setting::new(target, list.origin.clone()))
                .map_err(|e| match e {
                    Unusable::Text(why) if words.len() > 1 => {
                        Invalid::new(&list.origin, format!("word {}: {why}", i + 1))
                    }
                    e => Invalid::target(&list.origin, e),
                })
        })
        .collect()
}

/// Most often it is an argument of an `exec:` that nobody has quoted, and may be a secret: it is named
/// by its place, and quoted where it is an option's name.
fn no_target(i: usize, word: &str) -> String {
    let letters = word.trim_start_matches('-');
    let is_option = match word.len() - letters.len() {
        1 => letters.len() == 1,
        2 => letters.len() <= 20 && letters.chars().all(|c| c.is_ascii_lowercase() || c == '-'),
        _ => false,
    };
    let named = if is_option {
        format!(" (\"{word}\")")
    } else {
        String::new()
    };
    format!(
        "word {}{named} is no target, which is written SCHEME:…, and quoted if there are blanks in it: \
         READY_CHECKS=\"'exec:CMD ARG' tcp://HOST:PORT\"",
        i + 1
    )
}
