//! What fails under supervisord, and how long it is away: the recipe of docs/keeper.md, "Beside supervisord", as it stands,
//! but for its paths. Each test prints the time for which the server did not answer.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ready_probe_test_support::pages::block;
use ready_probe_test_support::process::{
    Guard, Signal, free_port, keeper_binary, probe_binary, wait_until,
};
use ready_probe_test_support::servers::Supervisord;
use rustix::process::{Pid, kill_process};

use crate::host::Host;
use crate::supervised::LOG;

const PAGE: (&str, &str) = ("docs/keeper.md", "Beside supervisord");
/// Far above what anything here takes.
const SOON: Duration = Duration::from_secs(120);

/// A keeper, a supervisord, and its program `web`.
struct Stack {
    _keeper: Guard,
    supervisord: Supervisord,
    host: Host,
    port: u16,
}

impl Stack {
    /// As the page has it, with more lines for the program.
    fn start(lines: &str) -> Self {
        let (host, port) = (Host::new(), free_port());
        let command = format!("command={}\n{lines}", host.program(port));
        let supervisord = Supervisord::configure("", &[("web", &command)]);
        Self::around(host, port, supervisord, "")
    }

    /// With other programs, and more services.
    fn around(host: Host, port: u16, supervisord: Supervisord, more: &str) -> Self {
        let path = |of: std::path::PathBuf| of.display().to_string();
        let socket = path(supervisord.socket());
        let encoded = socket.replace('/', "%2F");
        let start = path(supervisord.path("start-supervisord"));
        let [to_start, entry] = [0, 1].map(|nth| block(PAGE.0, PAGE.1, "sh", nth));
        let to_start = to_start.with(&[
            ("/run/supervisord.lock", &path(supervisord.path("lock"))),
            (
                " ready-probe run ",
                &format!(" {} run ", path(probe_binary())),
            ),
            ("%2Frun%2Fsupervisor.sock", &encoded),
            (
                "supervisord --nodaemon --configuration /etc/supervisor/supervisord.conf",
                &supervisord.command("supervisord"),
            ),
        ]);
        fs::write(&start, to_start).unwrap();
        fs::set_permissions(&start, fs::Permissions::from_mode(0o755)).unwrap();
        let services = block(PAGE.0, PAGE.1, "toml", 0).with(&[
            ("%2Frun%2Fsupervisor.sock", &encoded),
            ("/run/supervisor.sock", &socket),
            (
                "/run/supervisord.pid",
                &path(supervisord.path("supervisord.pid")),
            ),
            ("/usr/local/bin/start-supervisord", &start),
            ("localhost:8000", &format!("localhost:{port}")),
            ("supervisorctl", &supervisord.command("supervisorctl")),
        ]);
        let config = host.path("services.toml");
        fs::write(&config, services + more).unwrap();
        let keeper = format!(
            "{} run --state {} --config {}",
            path(keeper_binary()),
            path(host.path("state")),
            path(config)
        );
        let entry = entry.with(&[
            ("/usr/local/bin/start-supervisord", &start),
            ("ready-keeper run --config /etc/ready-keeper.toml", &keeper),
        ]);
        let log = fs::File::create(host.path(LOG)).unwrap();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &entry])
            .env_clear()
            .env("READY_DIR", host.path("signals"))
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let stack = Self {
            _keeper: Guard::spawn(&mut shell),
            supervisord,
            host,
            port,
        };
        for service in ["supervisord", "web"] {
            stack
                .host
                .wait_for(LOG, &format!("Health check passed for {service}"));
        }
        stack
    }

    /// The supervisord that is at work.
    fn pid(&self) -> Pid {
        let told = fs::read_to_string(self.supervisord.path("supervisord.pid")).unwrap();
        Pid::from_raw(told.trim().parse().unwrap()).unwrap()
    }

    fn restarts(&self, service: &str) -> u64 {
        let told = self.host.status(service);
        told["services"][0]["restarts"]["total"].as_u64().unwrap()
    }

    fn wait_for_recovery(&self, service: &str) {
        self.host
            .wait_for(LOG, &format!("Successfully recovered {service}"));
    }

    /// How long the server is away after this.
    fn outage(&self, what: &str, fault: impl FnOnce()) -> Duration {
        let answers = || answers(self.port);
        assert!(answers(), "{}", self.host.read(LOG));
        fault();
        let wait = |what: &str, wanted: bool| {
            wait_until(SOON, what, || (answers() == wanted).then(Instant::now))
        };
        let from = wait("an outage", false);
        let outage = wait("its end", true).duration_since(from);
        println!("downtime: {what}: {:.1} s", outage.as_secs_f32());
        outage
    }

    /// There is one supervisord, which has the program, and nothing that another one has left.
    fn assert_one_of_each(&self) {
        self.supervisord.wait_for("web", "RUNNING");
        let conf = self
            .supervisord
            .path("supervisord.conf")
            .display()
            .to_string();
        let is_supervisord = |line: &[String]| {
            let is_program = line
                .iter()
                .take(2)
                .any(|word| word.ends_with("bin/supervisord"));
            is_program && line.contains(&conf)
        };
        assert_eq!(processes(is_supervisord), [self.pid()]);
        let web = i32::try_from(self.supervisord.pid("web"))
            .ok()
            .and_then(Pid::from_raw);
        let port = self.port.to_string();
        let is_web = |line: &[String]| line.len() == 4 && line[2] == port;
        assert_eq!(processes(is_web), [web.unwrap()]);
    }
}

/// Whether a server answers, soon.
fn answers(port: u16) -> bool {
    sleep(Duration::from_millis(20));
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        std::io::Result::Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// The processes with such a command line, zombies excepted.
fn processes(wanted: impl Fn(&[String]) -> bool) -> Vec<Pid> {
    let is_wanted = |entry: &Path| {
        let line = fs::read_to_string(entry.join("cmdline")).unwrap_or_default();
        let line: Vec<String> = line
            .trim_end_matches('\0')
            .split('\0')
            .map(str::to_owned)
            .collect();
        wanted(&line)
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| is_wanted(&entry.path()))
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

#[test]
fn a_server_that_crashes_is_started_again_by_supervisord_alone() {
    let stack = Stack::start("startsecs=0");
    stack.outage("a program crashes, and supervisord starts it again", || {
        stack.host.signal(stack.port, Signal::KILL);
    });
    let passed = || stack.host.status("web")["services"][0]["checks"]["passed"].as_u64();
    let before = passed();
    wait_until(SOON, "it to be asked again", || {
        sleep(Duration::from_millis(200));
        (passed() > before).then_some(())
    });
    assert_eq!(
        (stack.restarts("web"), stack.host.starts(stack.port)),
        (0, 2)
    );
}

#[test]
fn a_server_that_supervisord_has_given_up_is_started_again() {
    let (host, port) = (Host::new(), free_port());
    let broken = host.path("broken").display().to_string();
    let command = format!(
        "command=sh -c \"test ! -e {broken} && exec {}\"\nstartretries=0",
        host.program(port)
    );
    let supervisord = Supervisord::configure("", &[("web", &command)]);
    let stack = Stack::around(host, port, supervisord, "");
    stack.outage(
        "supervisord gives a program up (FATAL), which then could start",
        || {
            stack.host.write("broken", "");
            stack.host.signal(port, Signal::KILL);
            stack.supervisord.wait_for("web", "FATAL");
            fs::remove_file(stack.host.path("broken")).unwrap();
        },
    );
    stack.wait_for_recovery("web");
    assert_eq!((stack.restarts("web"), stack.host.starts(port)), (1, 2));
    stack.assert_one_of_each();
}

#[test]
fn a_server_that_hangs_is_started_again() {
    let stack = Stack::start("stopwaitsecs=2");
    stack.outage("a program hangs", || {
        stack.host.signal(stack.port, Signal::STOP);
    });
    stack.wait_for_recovery("web");
    assert_eq!(
        (stack.restarts("web"), stack.restarts("supervisord")),
        (1, 0)
    );
    stack.assert_one_of_each();
}

#[test]
fn a_supervisord_that_is_killed_comes_back_without_what_it_has_left() {
    let stack = Stack::start("");
    let old = stack.pid();
    stack.outage("supervisord is killed", || {
        kill_process(old, Signal::KILL).unwrap();
    });
    stack.wait_for_recovery("supervisord");
    assert_ne!(stack.pid(), old);
    stack.assert_one_of_each();
    assert_eq!(
        (stack.restarts("web"), stack.restarts("supervisord")),
        (0, 1)
    );
}

#[test]
fn a_supervisord_that_hangs_is_ended_with_its_programs_and_comes_back() {
    let stack = Stack::start("");
    let old = stack.pid();
    // Its programs work on meanwhile.
    stack.outage("supervisord hangs", || {
        kill_process(old, Signal::STOP).unwrap();
    });
    stack.wait_for_recovery("supervisord");
    assert_ne!(stack.pid(), old);
    stack.assert_one_of_each();
    assert_eq!(
        (stack.restarts("web"), stack.restarts("supervisord")),
        (0, 1)
    );
}

#[test]
fn what_a_supervisord_has_left_is_told_where_nobody_ends_it() {
    let (host, port) = (Host::new(), free_port());
    let command = format!("command={}\nstartretries=0", host.program(port));
    let supervisord = Supervisord::configure("", &[("web", &command)]);
    let start = supervisord.path("start-supervisord");
    let stack = Stack::around(host, port, supervisord, "");
    // From now on without `ready-probe run`, and what runs already is nobody's.
    fs::write(
        &start,
        format!(
            "#!/bin/sh\nexec {}\n",
            stack.supervisord.command("supervisord")
        ),
    )
    .unwrap();
    let folder = stack.supervisord.path("").display().to_string();
    let is_run = |line: &[String]| {
        line.contains(&"run".to_owned()) && line.iter().any(|word| word.contains(&folder))
    };
    for pid in processes(is_run) {
        // It may have ended with another one.
        let _ = kill_process(pid, Signal::KILL);
    }
    kill_process(stack.pid(), Signal::KILL).unwrap();
    stack.wait_for_recovery("supervisord");
    stack
        .host
        .wait_for(LOG, "Failed to recover web: supervisor:web#socket=");
    assert!(
        stack.host.read(LOG).contains("FATAL"),
        "{}",
        stack.host.read(LOG)
    );
    assert_eq!(stack.host.starts(port), 1);
}

/// A server that forgets to close a file at each request, and may have few open.
const LEAKS: &str = "import os, resource, socket, sys, time\nport, folder = int(sys.argv[1]), sys.argv[2]\n\
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))\nserver = socket.create_server(('127.0.0.1', port))\n\
    open(f'{folder}/pid.{port}', 'w').write(str(os.getpid()))\nopen(f'{folder}/starts.{port}', 'a').write('x')\nheld = []\n\
    while True:\n    try:\n        client, _ = server.accept()\n        held.append(open('/dev/null'))\n    except OSError:\n\
    \x20       time.sleep(0.1)\n        continue\n    client.recv(4096)\n\
    \x20   client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n')\n    client.close()\n";

#[test]
fn a_server_without_descriptors_is_started_again() {
    let (host, port) = (Host::new(), free_port());
    host.write("leaks.py", LEAKS);
    let folder = host.path("").display().to_string();
    let command = format!("command=python3 {folder}leaks.py {port} {folder}");
    let supervisord = Supervisord::configure("", &[("web", &command)]);
    let stack = Stack::around(host, port, supervisord, "");
    stack.outage("a program has used up its descriptors", || {
        wait_until(SOON, "it to have none left", || {
            (!answers(port)).then_some(())
        });
    });
    stack.wait_for_recovery("web");
    assert_eq!((stack.restarts("web"), stack.host.starts(port)), (1, 2));
}

/// A program that holds the lock of a database and does nothing, as long as its supervisord lives, and a check that wants
/// to write.
const HOLDER: &str = "import os, sqlite3, sys, time\nparent = os.getppid()\ndef stay():\n\
    \x20   while os.getppid() == parent: time.sleep(0.1)\n\
    db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
    db.execute('create table if not exists t (x)')\ndb.execute('begin exclusive')\nopen(sys.argv[1] + '.held', 'a').write('x')\n\
    if len(open(sys.argv[1] + '.held').read()) == 1: stay()\ndb.execute('commit')\nstay()\n";
const WRITER: &str = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=9)\n\
    db.execute('insert into t values (1)')\ndb.commit()\n";

#[test]
fn a_lock_of_a_database_ends_with_the_program_that_holds_it() {
    let (host, port) = (Host::new(), free_port());
    host.write("holder.py", HOLDER);
    host.write("writer.py", WRITER);
    let path = |name: &str| host.path(name).display().to_string();
    let web = format!("command={}", host.program(port));
    let session = format!(
        "command=python3 {} {}\nautostart=false",
        path("holder.py"),
        path("db")
    );
    let supervisord = Supervisord::configure("", &[("web", &web), ("session", &session)]);
    let more = format!(
        "[[service]]\nname = \"session\"\ncheck = [\"exec:python3 {} {}\"]\nrestart = \"{} restart session\"\n\
         needs = [\"supervisord\"]\nstartup = \"10s\"\nhung_after = \"10s\"\n",
        path("writer.py"),
        path("db"),
        supervisord.command("supervisorctl")
    );
    let writes = {
        let args = [path("writer.py"), path("db")];
        move || {
            Command::new("python3")
                .args(&args)
                .output()
                .unwrap()
                .status
                .success()
        }
    };
    // The table is there, and nobody holds it.
    let table = "import sqlite3, sys\nsqlite3.connect(sys.argv[1]).execute('create table t (x)')\n";
    assert!(
        Command::new("python3")
            .args(["-c", table, &path("db")])
            .status()
            .unwrap()
            .success()
    );
    let stack = Stack::around(host, port, supervisord, &more);
    stack.host.wait_for(LOG, "Health check passed for session");
    stack.supervisord.ctl(&["start", "session"]);
    wait_until(SOON, "the lock", || {
        (!stack.host.read("db.held").is_empty()).then_some(())
    });
    let from = Instant::now();
    assert!(!writes());
    wait_until(SOON, "the end of the lock", || {
        sleep(Duration::from_millis(100));
        writes().then_some(())
    });
    println!(
        "downtime: a program holds the lock of a database: {:.1} s",
        from.elapsed().as_secs_f32()
    );
    stack.wait_for_recovery("session");
    assert_eq!((stack.restarts("session"), stack.restarts("web")), (1, 0));
}
