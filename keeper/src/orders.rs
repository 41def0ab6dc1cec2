//! What people have ordered: a file each in a folder beside the keeper's memory, so that whoever comes next heeds it. A
//! pause stays there until it is over; other orders are removed once they are carried out.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use ready_probe_sdk::clock;
use serde::{Deserialize, Serialize};

use crate::machine::Marker;
use crate::replace_file::replace_file;

const FOLDER: &str = "orders";
const PAUSE: &str = "pause";

/// What is done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Restart it now.
    Restart,
    /// Forget its restarts and failures.
    Reset,
}

impl Order {
    /// Its word, also the end of its file's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Reset => "reset",
        }
    }
}

/// Leave a service alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The time of day at which it is over; without one a person ends it.
    pub until_ms: Option<u64>,
    /// Why, for people.
    pub reason: Option<String>,
}

impl Pause {
    /// Its end, in words.
    pub fn until(&self) -> Option<String> {
        let until = UNIX_EPOCH + Duration::from_millis(self.until_ms?);
        Some(format!(" until {}", clock::rfc3339(until)))
    }

    fn is_over(&self, wall_ms: u64) -> bool {
        self.until_ms.is_some_and(|until| until <= wall_ms)
    }
}

/// Where they are written.
#[derive(Debug, Clone)]
pub struct Orders {
    dir: PathBuf,
}

impl Orders {
    /// Those beside a memory.
    pub fn beside(state: &Path) -> Self {
        Self {
            dir: state.join(FOLDER),
        }
    }

    /// The pause of a service; none if it is over. An error says why it can't be told.
    pub fn pause(&self, service: &str, wall_ms: u64) -> io::Result<Option<Pause>> {
        let text = match fs::read_to_string(self.file(service, PAUSE)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let pause: Pause = serde_json::from_str(&text)?;
        Ok(Some(pause).filter(|pause| !pause.is_over(wall_ms)))
    }

    /// Whether a service is paused.
    pub fn look(&self, service: &str, wall_ms: u64) -> Marker {
        match self.pause(service, wall_ms) {
            Ok(Some(_)) => Marker::Present,
            Ok(None) => Marker::Absent,
            Err(_) => Marker::Unreadable,
        }
    }

    /// Writes a pause.
    pub fn write_pause(&self, service: &str, pause: &Pause) -> io::Result<()> {
        let text = serde_json::to_string(pause)?;
        self.write(service, PAUSE, &text)
    }

    /// Ends a pause. Returns whether there was one.
    pub fn end_pause(&self, service: &str) -> io::Result<bool> {
        self.remove(service, PAUSE)
    }

    /// Writes an order.
    pub fn give(&self, service: &str, order: Order) -> io::Result<()> {
        self.write(service, order.word(), "")
    }

    /// Whether it waits to be carried out.
    pub fn is_given(&self, service: &str, order: Order) -> bool {
        self.file(service, order.word()).exists()
    }

    /// What is to be done, service by service. What can't be read is not there yet.
    pub fn given(&self) -> Vec<(String, Order)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let parse = |entry: fs::DirEntry| {
            if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
                return None;
            }
            let name = entry.file_name().into_string().ok()?;
            let (service, word) = name.rsplit_once('.')?;
            let orders = [Order::Reset, Order::Restart];
            let order = orders.into_iter().find(|order| order.word() == word)?;
            Some((service.to_owned(), order))
        };
        let mut given: Vec<(String, Order)> = entries.filter_map(parse).collect();
        given.sort_by(|(one, _), (other, _)| one.cmp(other));
        given
    }

    /// It has been carried out, or can't be.
    pub fn done(&self, service: &str, order: Order) -> io::Result<()> {
        self.remove(service, order.word()).map(|_| ())
    }

    fn file(&self, service: &str, end: &str) -> PathBuf {
        self.dir.join(format!("{service}.{end}"))
    }

    fn remove(&self, service: &str, end: &str) -> io::Result<bool> {
        match fs::remove_file(self.file(service, end)) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn write(&self, service: &str, end: &str, text: &str) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        // No service's name begins with a dot.
        let new = self.dir.join(format!(".{service}.{}", std::process::id()));
        replace_file(&new, &self.file(service, end), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_holds_until_it_is_over_and_one_that_can_not_be_read_is_not_none() {
        let dir = tempfile::tempdir().unwrap();
        let orders = Orders::beside(dir.path());
        assert_eq!(orders.look("a", 5), Marker::Absent);
        let pause = Pause {
            until_ms: Some(10),
            reason: None,
        };
        orders.write_pause("a", &pause).unwrap();
        assert_eq!(orders.look("a", 9), Marker::Present);
        assert_eq!(orders.look("a", 10), Marker::Absent);
        assert_eq!(orders.look("a.b", 9), Marker::Absent);
        assert!(orders.end_pause("a").unwrap());
        assert!(!orders.end_pause("a").unwrap());
        assert_eq!(orders.look("a", 9), Marker::Absent);
        fs::write(orders.file("a", PAUSE), "{").unwrap();
        assert_eq!(orders.look("a", 9), Marker::Unreadable);
    }

    #[test]
    fn an_order_is_there_until_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let orders = Orders::beside(dir.path());
        assert_eq!(orders.given(), []);
        orders.give("web.1", Order::Restart).unwrap();
        orders.give("db", Order::Reset).unwrap();
        let given = [
            ("db".to_owned(), Order::Reset),
            ("web.1".to_owned(), Order::Restart),
        ];
        assert_eq!(orders.given(), given);
        orders.done("web.1", Order::Restart).unwrap();
        assert!(!orders.is_given("web.1", Order::Restart));
        assert!(orders.is_given("db", Order::Reset));
        // A folder can't be removed as a file is, and would be an order for ever.
        fs::create_dir(orders.file("cache", "restart")).unwrap();
        assert_eq!(orders.given().len(), 1);
    }
}
