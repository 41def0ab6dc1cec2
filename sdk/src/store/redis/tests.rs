//! A connection that breaks after any byte.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use ready_probe_test_support::servers::Redis;

use super::*;
use crate::signal::{Instance, State};

/// Sends so many bytes, and then breaks.
struct Breaking<'a> {
    redis: &'a Redis,
    left: usize,
    sent: usize,
}

impl CommandLink for &mut Breaking<'_> {
    async fn exchange(&mut self, commands: &[Cmd], _: usize) -> Result<Vec<Value>, Failure> {
        let bytes: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        let mut stream = TcpStream::connect(("127.0.0.1", self.redis.port())).unwrap();
        let sent = bytes.get(..self.left).unwrap_or(&bytes);
        stream.write_all(sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // The server ends it, too, once it has done what has arrived.
        stream.read_to_end(&mut Vec::new()).unwrap();
        self.sent = bytes.len();
        Err(Failure::lost("it broke"))
    }
}

#[tokio::test]
async fn a_connection_that_breaks_anywhere_leaves_nothing_that_lives_for_ever() {
    let redis = Redis::start();
    let record = Record {
        published: Published {
            agent: Name::new("a").unwrap(),
            instance: Instance::new("h-1").unwrap(),
        },
        state: State::Ready,
        ttl_ms: 60_000,
        bytes: b"{}".to_vec(),
    };
    let mut link = Breaking {
        redis: &redis,
        left: 0,
        sent: usize::MAX,
    };
    while link.left <= link.sent {
        let mut store = RedisStore::new(&mut link, Name::new("default").unwrap());
        let put = store.put(std::slice::from_ref(&record)).await;
        assert!(put.is_err());
        let keys = redis.command(&["KEYS", "*"]);
        for key in keys.lines() {
            assert_ne!(
                redis.command(&["PTTL", key]),
                "-1",
                "{key} after {} bytes",
                link.left
            );
        }
        redis.command(&["FLUSHALL"]);
        link.left += 1;
    }
    assert!(link.left > 100);
}
