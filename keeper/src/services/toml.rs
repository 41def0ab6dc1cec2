//! The settings of services in TOML.

mod contained;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ready_probe::redact::{one_line, shown};
use ready_probe_sdk::freshness::Span;
use toml::de::{DeTable, Error};

use self::contained::Engine;
use self::table::{Table, line};
use super::{
    AlertTable, Places, Service, Services, TIMEOUT_MS, check_name, in_order, only_container,
};
use crate::alert::settings::ChannelFields;
use crate::container::MAX_STOP_S;
use crate::engine::{self, Labelled};
use crate::question::{Question, What};
use crate::recovery::{Contained, Recovery, Script, Shell, Stop, Whose};
use crate::rules::{GiveUp, Rules};
use crate::stop::signal;

const MAX_NAME_CHARS: usize = 100;
const STOP_WAIT_MS: u64 = 10_000;
/// The shortest times that mean anything.
const LEAST: Duration = Duration::from_millis(1);
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

const KEYS: &[&str] = &["keeper", "service", "alert"];
const KEEPER_KEYS: &[&str] = &["interval", "dry_run", "container", "engine"];
const SERVICE_KEYS: &[&str] = &[
    "name",
    "check",
    "timeout",
    "restart",
    "container",
    "label",
    "restart_exited",
    "stop",
    "needs",
    "inhibit",
    "hung_after",
    "startup",
    "startup_delay",
    "attempts",
    "max_restarts",
    "window",
    "give_up",
    "restart_on",
    "restart_with",
    "log",
    "alert",
];
const STOP_KEYS: &[&str] = &["process", "pidfile", "signal", "wait"];
const ALERT_KEYS: &[&str] = &[
    "kind",
    "url",
    "url_file",
    "topic",
    "token",
    "token_file",
    "field",
];

/// One service, and the names of others that it mentions.
struct Section<'a> {
    table: Table<'a>,
    service: Service,
    needs: Vec<String>,
    restart_with: Vec<String>,
}

/// What a text says. `container` is the one that this is, if somebody has said so; `labelled` are those of an engine.
pub fn parse(text: &str, container: Option<&str>, labelled: &Labelled) -> Result<Services, String> {
    let parsed = DeTable::parse(text).map_err(|e| at_line(text, &e))?;
    let root = Table::new(text, "", parsed.get_ref());
    root.only(KEYS)?;
    let keeper = keeper(root.table("keeper")?)?;
    let container = container.or(keeper.container.as_deref());
    let alerts = alerts(&root)?;
    let mut engine = Engine::new(keeper.engine.clone(), keeper.interval_ms);
    let mut notes = Vec::new();
    let mut found: Vec<Section<'_>> = Vec::new();
    let mut elsewhere = Vec::new();
    let mut containers = Vec::new();
    let tables = root.tables("service")?;
    let (by_label, by_name): (Vec<_>, Vec<_>) =
        tables.into_iter().partition(|table| table.has("label"));
    for table in by_name {
        let name = name(&table)?;
        let table = table.called(format!("service {name}"));
        if found.iter().any(|one| one.service.name == name) {
            return Err(table.wrong("name", "another service has the same name"));
        }
        let contained = engine.of_service(&table)?;
        let its = table.text("container")?.filter(|_| contained.is_none());
        if let (Some(here), Some(its)) = (container, &its)
            && here != its
        {
            notes.push(format!("{name}: not here, but in container {}", shown(its)));
            elsewhere.push(name);
            continue;
        }
        containers.extend(its);
        found.push(service(table, name, &keeper, &alerts, contained)?);
    }
    if container.is_none() {
        notes.extend(only_container(containers.iter().map(String::as_str))?);
    }
    let has_labels = !by_label.is_empty();
    for table in by_label {
        let label = engine.label(&table)?;
        let table = table.called(format!("label {label}"));
        let of_container = |engine: &mut Engine, name: &str| {
            let contained = engine.contained(&table, "label", name.to_owned())?;
            let (table, name) = (table.clone(), name.to_owned());
            service(table, name, &keeper, &alerts, Some(contained))
        };
        // Its settings are read whether it has any by now or not.
        of_container(&mut engine, "any")?;
        for name in labelled.get(&label).into_iter().flatten() {
            let is_known = |one: &Section<'_>| {
                let its = one.service.question.container.as_ref();
                its.is_some_and(|its| its.name == *name)
            };
            if found.iter().any(is_known) {
                continue;
            }
            if found.iter().any(|one| one.service.name == *name) {
                let why = format!("another service is called {name}");
                notes.push(format!("label {label}: not looked after: {why}"));
                continue;
            }
            match check_name(name) {
                Ok(()) => found.push(of_container(&mut engine, name)?),
                Err(why) => notes.push(format!("label {label}: not looked after: {why}")),
            }
        }
    }
    let numbers: BTreeMap<String, usize> = found
        .iter()
        .enumerate()
        .map(|(number, one)| (one.service.name.clone(), number))
        .collect();
    let mut all = Vec::new();
    for one in found {
        let mut service = one.service;
        for (key, names, others) in [
            ("needs", one.needs, &mut service.rules.needs),
            (
                "restart_with",
                one.restart_with,
                &mut service.rules.restart_with,
            ),
        ] {
            for name in names {
                match numbers.get(&name) {
                    Some(&number) => others.push(number),
                    None if elsewhere.contains(&name) => notes.push(format!(
                        "{}: {key}: {name} is in another container, and not waited for",
                        service.name
                    )),
                    None => {
                        let why = format!("there is no service {}", shown(&name));
                        if !has_labels {
                            return Err(one.table.wrong(key, &why));
                        }
                        notes.push(format!(
                            "{}: {key}: {why}, and it is not waited for until a container with the label is called so",
                            service.name
                        ));
                    }
                }
            }
        }
        all.push(service);
    }
    let order = in_order(&all).map_err(|names| {
        format!("needs, restart_with: these wait for one another in a circle, or for one that does: {names}")
    })?;
    Ok(Services {
        all,
        order,
        notes,
        dry_run: keeper.dry_run,
        container: container.map(str::to_owned),
        places: keeper.places,
        alerts,
        engine: engine.wanted(),
    })
}

fn at_line(text: &str, e: &Error) -> String {
    let line = e.span().map_or(1, |span| line(text, span.start));
    format!("line {line}: not TOML: {}", e.message())
}

/// What a file says of the keeper itself.
struct OfKeeper {
    interval_ms: u64,
    dry_run: bool,
    container: Option<String>,
    engine: Option<String>,
    places: Places,
}

fn keeper(table: Option<Table<'_>>) -> Result<OfKeeper, String> {
    let mut keeper = OfKeeper {
        interval_ms: Rules::of_loop().interval_ms,
        dry_run: false,
        container: None,
        engine: None,
        places: Places::new(),
    };
    let Some(table) = table else {
        return Ok(keeper);
    };
    table.only(KEEPER_KEYS)?;
    if let Some(interval_ms) = table.millis("interval", LEAST_INTERVAL)? {
        keeper.interval_ms = interval_ms;
    }
    keeper.dry_run = table.flag("dry_run")?.unwrap_or(false);
    keeper.container = table.text("container")?;
    keeper.engine = table.text("engine")?;
    if let Some(at) = &keeper.engine {
        engine::check(at).map_err(|why| table.wrong("engine", &why))?;
    }
    keeper.places = table.places();
    Ok(keeper)
}

fn alerts(root: &Table<'_>) -> Result<BTreeMap<String, AlertTable>, String> {
    let Some(all) = root.table("alert")? else {
        return Ok(BTreeMap::new());
    };
    let alert = |(name, table): (String, Table<'_>)| {
        let table = table.called(format!("[alert.{}]", one_line(&name, MAX_NAME_CHARS)));
        Ok((name.clone(), alert(&table, &name)?))
    };
    all.named()?.into_iter().map(alert).collect()
}

fn alert(table: &Table<'_>, name: &str) -> Result<AlertTable, String> {
    table.only(ALERT_KEYS)?;
    let path = |key: &str| Ok::<_, String>(table.text(key)?.map(PathBuf::from));
    let kind = table.text("kind")?;
    let fields = ChannelFields {
        kind: kind.ok_or_else(|| table.wrong("kind", "it is missing: ntfy or webhook"))?,
        url: table.text("url")?,
        url_file: path("url_file")?,
        topic: table.text("topic")?,
        token: table.text("token")?,
        token_file: path("token_file")?,
        field: table.text("field")?,
    };
    let channel = fields.channel(name).map_err(|e| {
        let (key, why) = e.split_once(": ").unwrap_or(("kind", &e));
        table.wrong(key, why)
    })?;
    Ok(AlertTable {
        channel,
        places: table.places(),
    })
}

fn name(table: &Table<'_>) -> Result<String, String> {
    let name = table.text("name")?;
    let name = name.ok_or_else(|| table.wrong("name", "it is missing"))?;
    check_name(&name).map_err(|e| table.wrong("name", &e))?;
    Ok(name)
}

fn service<'a>(
    table: Table<'a>,
    name: String,
    keeper: &OfKeeper,
    alerts: &BTreeMap<String, AlertTable>,
    contained: Option<Contained>,
) -> Result<Section<'a>, String> {
    table.only(SERVICE_KEYS)?;
    let of_engine = contained.clone().map(Recovery::Container);
    let restart = recovery(&table)?.or(of_engine);
    let rules = rules(&table, keeper.interval_ms, restart.as_ref())?;
    // A service's name holds no colon.
    let (targets, needs): (Vec<String>, Vec<String>) = table
        .texts("needs")?
        .into_iter()
        .partition(|need| need.contains(':'));
    let restart_with = table.texts("restart_with")?;
    let on = table.texts("restart_on")?;
    if on.iter().any(|on| on != "not_ready") {
        return Err(table.wrong("restart_on", "not_ready is all that there is"));
    }
    let question = Question {
        container: contained,
        checks: table
            .texts("check")?
            .into_iter()
            .map(What::Target)
            .collect(),
        needs: targets.into_iter().map(What::Target).collect(),
        inhibit: table
            .texts("inhibit")?
            .into_iter()
            .map(What::Target)
            .collect(),
        always: !restart_with.is_empty(),
        of: restart
            .as_ref()
            .and_then(|restart| Some(restart.script()?.stop.as_ref()?.of.clone())),
        restart: None,
        no_counts: !on.is_empty(),
        timeout_ms: table.millis("timeout", LEAST)?.unwrap_or(TIMEOUT_MS),
    };
    if question.checks.is_empty() && question.container.is_none() {
        return Err(table.wrong("check", "it is missing, [\"http://localhost:9000/health\"]"));
    }
    question.check().map_err(|e| {
        let (key, why) = e.split_once(": ").unwrap_or(("check", &e));
        table.wrong(key, why)
    })?;
    let alert = table.texts("alert")?;
    if let Some(unknown) = alert
        .iter()
        .find(|name| !alerts.contains_key(name.as_str()))
    {
        let why = format!("there is no [alert.{}]", shown(unknown));
        return Err(table.wrong("alert", &why));
    }
    let service = Service {
        name,
        question,
        restart,
        log: table.text("log")?,
        rules,
        alert,
        places: places(&table, keeper)?,
    };
    Ok(Section {
        table,
        service,
        needs,
        restart_with,
    })
}

/// Those of its own keys, and of what it has from others.
fn places(table: &Table<'_>, keeper: &OfKeeper) -> Result<Places, String> {
    let mut places = table.places();
    if let Some(stop) = table.table("stop")? {
        let keys = stop.places().into_iter();
        places.extend(keys.map(|(key, place)| (format!("stop.{key}"), place)));
    }
    if let Some(place) = keeper.places.get("interval") {
        places.insert("interval".to_owned(), place.clone());
    }
    Ok(places)
}

fn recovery(table: &Table<'_>) -> Result<Option<Recovery>, String> {
    let stop = table.table("stop")?;
    match (table.text("restart")?, stop) {
        (None, Some(_)) => Err(table.wrong(
            "stop",
            "it ends what restart = \"…\" starts anew, and that is missing",
        )),
        (None, None) => Ok(None),
        (Some(command), stop) => Ok(Some(Recovery::Command(Script {
            stop: stop.map(|stop| self::stop(&stop)).transpose()?,
            command,
            shell: Shell::Sh,
        }))),
    }
}

fn stop(table: &Table<'_>) -> Result<Stop, String> {
    table.only(STOP_KEYS)?;
    let of = match (table.text("process")?, table.text("pidfile")?) {
        (Some(part), None) => Whose::Pattern(part),
        (None, Some(path)) if path.starts_with('/') => Whose::Pidfile(PathBuf::from(path)),
        (None, Some(_)) => return Err(table.wrong("pidfile", "an absolute path is expected, /…")),
        (Some(_), Some(_)) => {
            return Err(table.wrong("pidfile", "it stands beside process: one of them is enough"));
        }
        (None, None) => return Err(table.wrong("process", "it is missing, and so is pidfile")),
    };
    let name = table.text("signal")?;
    let name = name.as_deref().unwrap_or("TERM");
    Ok(Stop {
        of,
        signal: signal(name).map_err(|e| table.wrong("signal", &e))?,
        wait_ms: table
            .millis("wait", Duration::ZERO)?
            .unwrap_or(STOP_WAIT_MS),
    })
}

fn rules(table: &Table<'_>, interval_ms: u64, restart: Option<&Recovery>) -> Result<Rules, String> {
    let default = Rules::of_loop();
    let mut rules = Rules {
        interval_ms,
        startup_ms: table
            .millis("startup", Duration::ZERO)?
            .unwrap_or(default.startup_ms),
        delay_ms: table
            .millis("startup_delay", Duration::ZERO)?
            .unwrap_or(default.delay_ms),
        attempts: table.number("attempts", 100)?.unwrap_or(default.attempts),
        window_ms: table.millis("window", LEAST)?.unwrap_or(default.window_ms),
        give_up: match table.text("give_up")?.as_deref() {
            None | Some("slow") => GiveUp::Slow,
            Some("stop") => GiveUp::Stop,
            Some("exit") => GiveUp::Exit,
            Some(_) => return Err(table.wrong("give_up", "it is slow, stop or exit")),
        },
        restarts: restart.is_some(),
        ..default
    };
    if let Some(most) = table.number("max_restarts", 1_000)? {
        rules.max_restarts = usize::try_from(most).unwrap_or(usize::MAX);
    }
    if let Some(hung_ms) = table.millis("hung_after", LEAST)? {
        rules.hung.for_ms = hung_ms;
    }
    let stop_ms = match restart {
        Some(Recovery::Command(script)) => script.stop.as_ref().map_or(0, |stop| stop.wait_ms),
        // Whoever asks the engine knows how long its container has.
        Some(Recovery::Container(_)) => MAX_STOP_S * 1_000,
        None => 0,
    };
    // The command may be the service itself, which has its startup.
    rules.command_ms += rules.delay_ms + rules.startup_ms + stop_ms;
    if rules.least_window_ms() > rules.window_ms {
        let why = format!(
            "{} restarts take {} at least, so that a window of {} never holds them: a longer one, or a smaller max_restarts",
            rules.max_restarts,
            Span(rules.least_window_ms()),
            Span(rules.window_ms)
        );
        return Err(table.wrong("window", &why));
    }
    Ok(rules)
}
