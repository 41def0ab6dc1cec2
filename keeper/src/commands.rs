//! The restart commands that are under way: those of this keeper, and those that an earlier one has left.

use std::collections::BTreeMap;

use crate::children::{Restart, Started};

/// One of them.
#[derive(Debug)]
enum UnderWay {
    /// Started by this process, which reaps it.
    Ours(Restart, Option<Started>),
    /// Started by a keeper that has ended since.
    Left(Started),
}

/// By the name of the service.
#[derive(Debug, Default)]
pub struct Commands {
    under_way: BTreeMap<String, UnderWay>,
    /// Services in the foreground, which their commands have become: nothing of theirs is under way, and they are reaped.
    settled: Vec<(String, UnderWay)>,
    /// Those that were killed, and live: another user's, or held by a file system.
    unended: BTreeMap<String, Started>,
}

/// What became of a command that was to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There was none.
    Nothing,
    /// It has ended.
    Ended,
    /// This process of it, or of an earlier one, lives.
    Lives(u32),
}

/// What is said of such a process.
pub fn unended(service: &str, process: u32) -> String {
    format!(
        "{service}: process {process} of its restart command does not end, even after KILL: nothing is started beside it"
    )
}

impl Commands {
    /// Those that an earlier keeper has left and that still run, and those that it could not end.
    pub fn left(
        remembered: &BTreeMap<String, Started>,
        unended: &BTreeMap<String, Started>,
    ) -> Self {
        let lives = remembered.iter().filter(|(_, started)| started.lives());
        Self {
            under_way: lives
                .map(|(service, started)| (service.clone(), UnderWay::Left(*started)))
                .collect(),
            settled: Vec::new(),
            unended: unended.clone(),
        }
    }

    /// Takes one that has been prepared.
    pub fn begin(&mut self, service: &str, restart: Restart) {
        let started = restart.started();
        let ours = UnderWay::Ours(restart, started);
        self.under_way.insert(service.to_owned(), ours);
    }

    /// Lets it run, now that it is remembered.
    pub fn go(&mut self, service: &str) {
        if let Some(UnderWay::Ours(restart, _)) = self.under_way.get_mut(service) {
            restart.go();
        }
    }

    /// Whether one runs. That of one that has ended is told, if it did not end well.
    pub fn look(&mut self, service: &str) -> (bool, Option<String>) {
        let Some(command) = self.under_way.get_mut(service) else {
            return (false, None);
        };
        if command.runs() {
            return (true, None);
        }
        let trouble = match self.under_way.remove(service) {
            Some(UnderWay::Ours(mut restart, _)) => restart.trouble(),
            Some(UnderWay::Left(_)) | None => None,
        };
        (false, trouble)
    }

    /// The session of the one that runs.
    pub fn session(&self, service: &str) -> Option<u32> {
        Some(self.under_way.get(service)?.started()?.pid)
    }

    /// The service works while its command runs: that is the service itself, and is left alone.
    pub fn settle(&mut self, service: &str) {
        if let Some(command) = self.under_way.remove(service) {
            self.settled.push((service.to_owned(), command));
        }
    }

    /// Ends it, with all that it has started and that has not left its group. What lives all the same is remembered.
    pub fn end(&mut self, service: &str) -> End {
        let command = self.under_way.remove(service);
        let was_there = command.is_some();
        if let Some(command) = command {
            let started = command.started();
            match command {
                UnderWay::Ours(restart, _) => restart.end(),
                UnderWay::Left(started) => started.end(),
            }
            if let Some(started) = started {
                self.unended.insert(service.to_owned(), started);
            }
        }
        let lives = self
            .unended
            .get(service)
            .and_then(|started| match was_there {
                true => started.left(),
                false => started.living(),
            });
        match lives {
            Some(process) => End::Lives(process),
            None => {
                self.unended.remove(service);
                match was_there {
                    true => End::Ended,
                    false => End::Nothing,
                }
            }
        }
    }

    /// Reaps what has ended of the settled ones, and of those whose services nobody looks after now.
    pub fn reap(&mut self, is_looked_after: impl Fn(&str) -> bool) {
        self.settled.retain_mut(|(_, command)| command.runs());
        self.under_way
            .retain(|service, command| is_looked_after(service) || command.runs());
    }

    /// What could not be ended, to be remembered.
    pub fn unended(&self) -> BTreeMap<String, Started> {
        self.unended.clone()
    }

    /// What has to be remembered.
    pub fn under_way(&self) -> BTreeMap<String, Started> {
        let started = |(service, command): (&String, &UnderWay)| {
            command.started().map(|started| (service.clone(), started))
        };
        self.under_way.iter().filter_map(started).collect()
    }

    /// The processes whose ends are news, with their services.
    pub fn processes(&self) -> impl Iterator<Item = (&str, Started)> {
        let under_way = self.under_way.iter();
        let settled = self.settled.iter();
        under_way
            .map(|(service, command)| (service.as_str(), command))
            .chain(settled.map(|(service, command)| (service.as_str(), command)))
            .filter_map(|(service, command)| Some((service, command.started()?)))
    }
}

impl UnderWay {
    fn runs(&mut self) -> bool {
        match self {
            Self::Ours(restart, _) => restart.runs(),
            Self::Left(started) => started.lives(),
        }
    }

    fn started(&self) -> Option<Started> {
        match self {
            Self::Ours(_, started) => *started,
            Self::Left(started) => Some(*started),
        }
    }
}
