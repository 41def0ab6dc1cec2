//! `ready-probe run`: starts a command, and publishes the signal of an agent that can't do so itself.
//!
//! | module | owns |
//! |---|---|
//! | `options` | what was typed |
//! | `readiness` | conditions and what has happened → state and reason |
//! | `notify`, `speakers`, `socket` | what the program says by sd_notify, and who may speak for it |
//! | `ready_line`, `output`, `terminal` | its output, and the line that is looked for |
//! | `when` | asking the targets of `--when` |
//! | `publisher`, `announce`, `outer` | telling this container, the store, and who started us |
//! | `program`, `children`, `end` | the processes: starting, reaping, how they end |
//! | `supervisor` | the program while it runs |
//! | `voice` | what it says itself |

mod announce;
mod children;
mod end;
mod notify;
mod options;
mod outer;
mod output;
mod program;
mod publisher;
mod readiness;
mod ready_line;
mod socket;
mod speakers;
mod supervisor;
mod terminal;
mod voice;
mod when;

use std::cell::Cell;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use ready_probe_sdk::clock;
use signal_hook::consts::{SIGCHLD, SIGQUIT};
use tokio::sync::{Notify, mpsc, watch};

use self::announce::{Announcer, Due, StoreTold};
use self::children::ProcessesBeneath;
use self::end::End;
use self::options::RunOptions;
use self::outer::Outer;
use self::output::Outputs;
use self::program::Environment;
use self::publisher::{Owner, Publisher};
use self::readiness::{Event, Readiness};
use self::socket::Socket;
use self::supervisor::Supervisor;
use self::supervisor::forward_signals::CAUGHT;
use self::voice::Voice;
use self::when::WhenChecks;
use crate::cli;
use crate::exit::Exit;
use crate::run;
use crate::start::Start;
use ready_probe::child::{self, descendants};
use ready_probe::event_loop;
use ready_probe::settings::{Flags, Settings};
use ready_probe::signals::Signals;

pub use program::name_pid;

/// Nothing ends this command but the program's end.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// How long the end waits for a store that is to be told of it, and as long again for one that has to be told twice;
/// and for whoever reads our output.
const STORE_PATIENCE: Duration = Duration::from_secs(3);
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the command.
pub fn run(args: &cli::Run, flags: &Flags, start: &Start) -> Exit {
    let options = match RunOptions::parse(args) {
        Ok(options) => options,
        Err(invalid) => return invalid.into(),
    };
    let settings = match run::resolve_named_tried(flags, &args.when, start) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    if let Some(exit) = run::answered_parent(&settings, start) {
        return exit;
    }
    start.end_by(FOREVER);
    let exit = match event_loop::start() {
        Ok(event_loop) => {
            let exit = event_loop.block_on(supervise(args, options, &settings, start));
            event_loop.shutdown_background();
            exit
        }
        Err(cause) => Exit::failed(cause),
    };
    start.end_by(start.elapsed() + LAST_WORDS);
    exit
}

/// What happens while a program runs.
enum Happened {
    Signal(ready_probe::signals::Caught),
    Message,
    Line,
    Asked(readiness::WhenAnswer),
    Told,
    Time,
}

async fn supervise(
    args: &cli::Run,
    options: RunOptions,
    settings: &Settings,
    start: &Start,
) -> Exit {
    let mut voice = Voice::new(options.name.as_str(), settings.quiet.value);
    let outer = Outer::from_env().unwrap_or_else(|why| {
        voice.say_once(&why);
        None
    });
    let (line_seen, mut lines) = mpsc::unbounded_channel();
    let prepared = prepare(&options, &line_seen);
    let (mut signals, children, socket, outputs) = match prepared {
        Ok(prepared) => prepared,
        Err(why) => return Exit::failed(why),
    };
    let (outputs, ends) = outputs.unzip();
    let watchdog_ms = options.watchdog_ms.or_else(program::outer_watchdog_ms);
    let environment = Environment {
        socket: &socket.address,
        watchdog_ms,
    };
    let command = match program::start(&args.command, &environment, ends) {
        Ok(command) => command,
        Err(e) => {
            let program = args.command.first().map_or("".as_ref(), |p| p.as_os_str());
            return Exit::not_run(program, &e);
        }
    };
    let (due, due_seen) = watch::channel(Due::default());
    let (told, mut told_seen) = watch::channel(StoreTold::default());
    let publisher = Publisher::new(
        options.name,
        settings.folder.value.clone(),
        options.ttl_ms,
        Owner::of(command),
        due,
    );
    let mut supervisor = Supervisor::new(
        command,
        options.from,
        Readiness::new(options.conditions, watchdog_ms),
        publisher,
        (socket, outer),
        (children, outputs),
        voice,
    );
    let asking = WhenChecks {
        recheck: options.recheck,
        under_way: Cell::new(false),
        failing: Cell::new(false),
        soon: Notify::new(),
    };
    let (answer, mut answers) = mpsc::unbounded_channel();
    let mut asked = Box::pin(asking.ask(settings, start.far_mounts(), answer));
    let place = settings.place.as_ref().map(|place| &place.value);
    let mut telling = pin!(async {
        match place {
            Some(place) => {
                let announcer = Announcer {
                    place,
                    secrets: &settings.secrets,
                    timeout: settings.timeout.value,
                };
                announcer.tell(due_seen, told).await;
            }
            None => {
                // Both ends stay open.
                let _open = (due_seen, told);
                pending::<()>().await;
            }
        }
    });
    let end = loop {
        supervisor.do_due();
        asking.failing.set(supervisor.is_when_failing());
        let left_ms = supervisor.due_at_ms().saturating_sub(clock::mono_ms());
        let happened = tokio::select! {
            caught = signals.next() => Happened::Signal(caught),
            () = supervisor.heard() => Happened::Message,
            Some(()) = lines.recv() => Happened::Line,
            Some(answer) = answers.recv() => Happened::Asked(answer),
            Ok(()) = told_seen.changed() => Happened::Told,
            () = tokio::time::sleep(Duration::from_millis(left_ms)) => Happened::Time,
            () = asked.as_mut() => continue,
            () = &mut telling => continue,
        };
        let mut may_have_ended = false;
        match happened {
            Happened::Signal(caught) => {
                may_have_ended = caught.number == SIGCHLD;
                supervisor.pass_on(caught);
                if caught.number == SIGQUIT {
                    // Many programs drain from then on, and take no more.
                    asking.soon.notify_one();
                }
            }
            Happened::Message => supervisor.listen(),
            Happened::Line => supervisor.take(Event::Line),
            Happened::Asked(answer) => {
                supervisor.take(Event::Asked(answer));
                // What ended while that was asked has not been reaped.
                may_have_ended = true;
            }
            Happened::Told => {
                let announced = told_seen.borrow_and_update().announced.clone();
                supervisor.note(announced);
            }
            Happened::Time => may_have_ended = true,
        }
        if may_have_ended && let Some(end) = supervisor.ended(asking.under_way.get()) {
            break end;
        }
    };
    let last = supervisor.conclude(end);
    // Its checks' own children are ended, and nothing that the command has left.
    descendants::end_commands(asked).await;
    let farewell = async {
        let told = async {
            if place.is_some() {
                announce::told_last(&mut told_seen, last, STORE_PATIENCE).await;
            }
        };
        tokio::join!(told, wind_down(&mut supervisor, end)).1;
    };
    let farewell = pin!(farewell);
    tokio::select! {
        () = farewell => {}
        () = &mut telling => {}
    }
    ended(end)
}

type Prepared = (
    Signals,
    ProcessesBeneath,
    Socket,
    Option<(Outputs, output::Ends)>,
);

/// What has to be there before the command is started.
fn prepare(
    options: &RunOptions,
    line_seen: &mpsc::UnboundedSender<()>,
) -> Result<Prepared, String> {
    child::keep_ended().map_err(|e| format!("children can't be waited for: {e}"))?;
    let signals = Signals::catch(&CAUGHT).map_err(|e| format!("signals can't be caught: {e}"))?;
    let children = ProcessesBeneath::begin();
    // What the command leaves comes to us; process 1 needs not ask for it.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|e| format!("processes that lose their parents can't be taken over: {e}"))?;
    let socket = Socket::bind().map_err(|e| format!("NOTIFY_SOCKET can't be made: {e}"))?;
    let outputs = match &options.line {
        Some(line) => Some(
            Outputs::pass_on(line, line_seen)
                .map_err(|e| format!("its output can't be passed on: {e}"))?,
        ),
        None => None,
    };
    Ok((signals, children, socket, outputs))
}

/// What is left when the program has ended. The kernel ends everything else with process 1.
async fn wind_down(supervisor: &mut Supervisor, end: End) {
    if std::process::id() != 1 {
        let (left, refused) = supervisor.children.end_left_over().await;
        if left > 0 && !supervisor.was_asked_for(end) {
            let them = if left == 1 {
                "a process, which has been ended".to_owned()
            } else {
                format!("{left} processes, which have been ended")
            };
            supervisor.say(&format!(
                "the command has ended and left {them}: a program must stay in the foreground, or \
                 send MAINPID"
            ));
        }
        if refused > 0 {
            supervisor.say(&format!(
                "{refused} of these run as another user, and may not be ended by this one"
            ));
        }
    }
    if let Some(outputs) = &supervisor.outputs {
        outputs.drain().await;
        if let Some(terminal) = &outputs.terminal {
            terminal.restore();
        }
    }
}

fn ended(end: End) -> Exit {
    Exit::Passed {
        status: end.status(),
        stdout: Vec::new(),
        stderr: Vec::new(),
    }
}
