//! Who may speak for the program on `NOTIFY_SOCKET`.

use ready_probe_sdk::host;

/// Whose messages count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Those of the command's process, and of its `MAINPID`.
    Main,
    /// Those of every process beneath this one.
    All,
}

/// Who sent a message, by what the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Its process; 0 is one of another PID namespace.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// How a sender is related to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The command's process, or its main process.
    Main,
    /// Another process beneath this one.
    Beneath,
    /// A process that has ended by now, as `systemd-notify` does: nobody can tell any more.
    Gone,
    /// A process that this one did not start.
    Stranger,
}

/// Why a message does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It comes from another PID namespace.
    OtherNamespace,
    /// It would count with `--notify-from all`.
    NotMain,
    /// It comes from a stranger.
    Stranger,
}

impl Refused {
    /// In words, of the process that has sent it.
    pub fn text(self, pid: u32) -> String {
        match self {
            Self::NotMain => format!(
                "process {pid} is not the main process, and what it says by sd_notify does not \
                 count: --notify-from all has every process beneath this one speak"
            ),
            Self::OtherNamespace => {
                "a process of another PID namespace has sent a message, which does not count"
                    .to_owned()
            }
            Self::Stranger => format!(
                "process {pid} has sent a message, which does not count: this command has not \
                 started it"
            ),
        }
    }
}

/// Whether a message counts. Of a sender that has ended its user is left to go by: root's, and that of this
/// process or of the program.
pub fn may_speak(
    from: From,
    sender: Sender,
    relation: Relation,
    users: &[u32],
) -> Result<(), Refused> {
    if sender.pid == 0 {
        return Err(Refused::OtherNamespace);
    }
    let is_known = sender.uid == 0 || users.contains(&sender.uid);
    match (relation, from) {
        (Relation::Main, _) | (Relation::Beneath, From::All) => Ok(()),
        (Relation::Gone, From::All) if is_known => Ok(()),
        (Relation::Beneath, From::Main) => Err(Refused::NotMain),
        (Relation::Gone, From::Main) if is_known => Err(Refused::NotMain),
        (Relation::Gone | Relation::Stranger, _) => Err(Refused::Stranger),
    }
}

/// How a process is related to this one, as `/proc` shows it; `main` are those that speak for the program.
pub fn relation(pid: u32, main: &[u32]) -> Relation {
    if main.contains(&pid) {
        return Relation::Main;
    }
    if host::stat_of(pid).is_none() {
        return Relation::Gone;
    }
    if is_beneath(pid) {
        return Relation::Beneath;
    }
    Relation::Stranger
}

/// Whether this process, or one that it started, has started that one. Its parents may end meanwhile; then
/// it is this one's child.
pub fn is_beneath(pid: u32) -> bool {
    const MAX_DEPTH: usize = 1_000;
    let me = std::process::id();
    let mut at = pid;
    for _ in 0..MAX_DEPTH {
        match host::stat_of(at) {
            Some(stat) if stat.ppid == me => return true,
            Some(stat) if stat.ppid > 1 => at = stat.ppid,
            Some(_) | None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_speak() {
        const USER: u32 = 1_000;
        let table = [
            (From::Main, 17, USER, Relation::Main, Ok(())),
            (From::All, 17, USER, Relation::Main, Ok(())),
            (
                From::Main,
                18,
                USER,
                Relation::Beneath,
                Err(Refused::NotMain),
            ),
            (From::All, 18, USER, Relation::Beneath, Ok(())),
            (From::Main, 19, USER, Relation::Gone, Err(Refused::NotMain)),
            (From::All, 19, USER, Relation::Gone, Ok(())),
            (From::All, 19, 0, Relation::Gone, Ok(())),
            (From::All, 19, 7, Relation::Gone, Err(Refused::Stranger)),
            (From::Main, 19, 7, Relation::Gone, Err(Refused::Stranger)),
            (
                From::Main,
                20,
                0,
                Relation::Stranger,
                Err(Refused::Stranger),
            ),
            (From::All, 20, 0, Relation::Stranger, Err(Refused::Stranger)),
            (
                From::All,
                0,
                0,
                Relation::Stranger,
                Err(Refused::OtherNamespace),
            ),
            (
                From::Main,
                0,
                USER,
                Relation::Main,
                Err(Refused::OtherNamespace),
            ),
            (
                From::All,
                0,
                USER,
                Relation::Gone,
                Err(Refused::OtherNamespace),
            ),
        ];
        for (from, pid, uid, relation, want) in table {
            let got = may_speak(from, Sender { pid, uid }, relation, &[USER]);
            assert_eq!(got, want, "{from:?} {pid} {uid} {relation:?}");
        }
    }

    #[test]
    fn a_grandchild_is_beneath_and_a_parent_is_not() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        assert_eq!(relation(child.id(), &[child.id()]), Relation::Main);
        assert_eq!(relation(child.id(), &[]), Relation::Beneath);
        assert_eq!(relation(grandchild, &[]), Relation::Beneath);
        assert_eq!(relation(1, &[]), Relation::Stranger);
        let pid = ready_probe::child::pid_of(grandchild).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
