//! What a round of checks looks up once, however many of them need it: the addresses of a host, the text
//! of a file with credentials, the authorities that are trusted. Outside of a round everybody looks for themselves.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use tokio::sync::OnceCell;

use super::file::{self, UnusableFile};

/// What is known of the addresses of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) all: Vec<SocketAddr>,
    /// The family that nobody has answered for: the host may have addresses of it, too.
    pub(super) left_out: Option<&'static str>,
}

type HostLookup = Result<Addresses, String>;
/// Parsed, or why they can't be used.
type Authorities = Result<Arc<RootCertStore>, String>;

#[derive(Debug, Default)]
struct Round {
    hosts: RefCell<HashMap<String, Arc<OnceCell<HostLookup>>>>,
    texts: RefCell<HashMap<PathBuf, Result<String, UnusableFile>>>,
    /// By their bundle; those that are compiled in have none.
    authorities: RefCell<HashMap<Option<PathBuf>, Authorities>>,
}

tokio::task_local! {
    static ROUND: Round;
}

/// One round: whoever asks within it shares what is looked up.
pub async fn share<T>(asks: impl Future<Output = T>) -> T {
    ROUND.scope(Round::default(), asks).await
}

/// The addresses of a host, which `look_up` finds if nobody has before. If whoever began to look gives up,
/// the next one begins anew.
pub(super) async fn addresses(host: &str, look_up: impl Future<Output = HostLookup>) -> HostLookup {
    let of_host = |round: &Round| {
        let mut hosts = round.hosts.borrow_mut();
        Arc::clone(hosts.entry(host.to_owned()).or_default())
    };
    match ROUND.try_with(of_host) {
        Ok(known) => known.get_or_init(|| look_up).await.clone(),
        Err(_) => look_up.await,
    }
}

/// The text of a small file, see [`file::read_text`].
///
/// # Errors
/// As there.
pub fn text(path: &Path) -> Result<String, UnusableFile> {
    let known = ROUND.try_with(|round| {
        let mut texts = round.texts.borrow_mut();
        let text = texts.entry(path.to_owned());
        text.or_insert_with(|| file::read_text(path)).clone()
    });
    known.unwrap_or_else(|_| file::read_text(path))
}

/// The authorities in a bundle, which `parse` finds if nobody has before.
pub(super) fn authorities(
    bundle: Option<&Path>,
    parse: impl Fn(Option<&Path>) -> Authorities,
) -> Authorities {
    let known = ROUND.try_with(|round| {
        let mut all = round.authorities.borrow_mut();
        let known = all.entry(bundle.map(Path::to_owned));
        known.or_insert_with(|| parse(bundle)).clone()
    });
    known.unwrap_or_else(|_| parse(bundle))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use futures_util::future::join3;

    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work)
    }

    #[test]
    fn a_host_is_looked_up_once_in_a_round() {
        let asked = Cell::new(0);
        let look_up = async || {
            asked.set(asked.get() + 1);
            tokio::task::yield_now().await;
            Ok(Addresses {
                all: vec![([10, 0, 0, 1], 0).into()],
                left_out: None,
            })
        };
        let all = || async {
            let (a, b, c) = join3(
                addresses("a", look_up()),
                addresses("a", look_up()),
                addresses("b", look_up()),
            )
            .await;
            assert!(a.is_ok() && a == b && b == c);
        };
        block_on(share(all()));
        assert_eq!(asked.get(), 2);
        block_on(share(all()));
        assert_eq!(asked.get(), 4);
        block_on(all());
        assert_eq!(asked.get(), 7);
    }

    #[test]
    fn whoever_gives_up_leaves_the_question_to_the_next_one() {
        let found = block_on(share(async {
            let mut first = Box::pin(addresses("a", std::future::pending()));
            assert!(futures_util::poll!(&mut first).is_pending());
            drop(first);
            addresses("a", std::future::ready(Ok(Addresses::default()))).await
        }));
        assert_eq!(found, Ok(Addresses::default()));
    }

    #[test]
    fn a_bundle_is_parsed_once_in_a_round() {
        let parsed = Cell::new(0);
        let parse = |_: Option<&Path>| {
            parsed.set(parsed.get() + 1);
            Ok(Arc::new(RootCertStore::empty()))
        };
        let both = || {
            for bundle in [Some(Path::new("a")), None, Some(Path::new("a")), None] {
                authorities(bundle, parse).unwrap();
            }
        };
        block_on(share(async { both() }));
        assert_eq!(parsed.get(), 2);
        block_on(share(async { both() }));
        assert_eq!(parsed.get(), 4);
        both();
        assert_eq!(parsed.get(), 8);
    }

    #[test]
    fn a_file_is_read_once_in_a_round() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("creds");
        let read_twice = |texts: [&str; 2]| {
            block_on(share(async {
                texts.map(|written| {
                    fs::write(&path, written).unwrap();
                    text(&path).unwrap()
                })
            }))
        };
        assert_eq!(read_twice(["a", "b"]), ["a", "a"]);
        assert_eq!(read_twice(["c", "d"]), ["c", "c"]);
        fs::write(&path, "e").unwrap();
        assert_eq!(text(&path).unwrap(), "e");
    }
}
