//! What to check: `READY_AGENT`, `READY_CHECKS`, and the application's `REDIS_URL` and `NATS_URL`.

use ready_probe_sdk::signal::{NO_AGENTS, Name};

use super::env::Env;
use super::flags::Flags;
use super::origin::{Invalid, Setting};
use super::precedence::typed;
use crate::redact::Secrets;
use crate::target::Target;
use crate::target::options::Options;
use crate::target::variables::Unusable;

/// The named agents; none if it is said that there are none.
pub(super) fn agents(
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
pub(super) fn servers(
    env: &Env<'_>,
    secrets: &mut Secrets,
) -> Result<Vec<Setting<Target>>, Invalid> {
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

pub(super) type ParseUrl = fn(&str, &mut Secrets) -> Result<Target, String>;

/// The application's variables, and the switches that leave them alone.
pub(super) const SERVERS: [(&str, &str, ParseUrl); 2] = [
    ("REDIS_URL", "READY_REDIS", Target::redis_of_application),
    ("NATS_URL", "READY_NATS", Target::nats_of_application),
];

/// `READY_CHECKS`: targets, split as a shell splits words.
pub(super) fn listed(
    env: &Env<'_>,
    secrets: &mut Secrets,
) -> Result<Vec<Setting<Target>>, Invalid> {
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

/// Mostly it is an unquoted argument of an `exec:`, and may be a secret: it is named by its place,
/// and quoted only if it is an option's name.
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
