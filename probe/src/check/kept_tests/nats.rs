//! NATS, and JetStream behind it.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use ready_probe_test_support::servers::{Nats, NatsVersion};
use serde_json::{Value, json};

use super::*;

const VERSIONS: [NatsVersion; 2] = [NatsVersion::V2_9, NatsVersion::V2_15];

/// The number that a server gives to whoever comes next.
fn next_client(nats: &Nats) -> u64 {
    let stream = TcpStream::connect(("127.0.0.1", nats.port())).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    let info: Value = serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
    info["client_id"].as_u64().unwrap()
}

/// How many come meanwhile.
fn connections(nats: &Nats, meanwhile: impl FnOnce()) -> u64 {
    let before = next_client(nats);
    meanwhile();
    next_client(nats) - before - 1
}

#[test]
fn a_connection_to_nats_is_used_for_all_rounds() {
    for version in VERSIONS {
        let nats = Nats::builder(version)
            .jetstream()
            .config("authorization { user: probe, password: s3cret }")
            .start();
        let login = format!("nats://probe:s3cret@127.0.0.1:{}", nats.port());
        let asking = Asking::new(&[
            &login,
            &format!("{login}#jetstream"),
            &format!("{login}#bucket=none&not"),
        ]);
        // The server gives JetStream a number, too, once an account uses it.
        asking.passes();
        let opened = connections(&nats, || {
            for _ in 0..3 {
                asking.passes();
            }
        });
        assert_eq!(opened, 0);
    }
}

#[test]
fn a_bucket_that_is_gone_is_gone_on_a_kept_connection() {
    let nats = Nats::builder(NatsVersion::V2_15).jetstream().start();
    let config = json!({ "name": "KV_b", "subjects": ["$KV.b.>"], "storage": "memory" });
    nats.api("STREAM.CREATE.KV_b", &config).unwrap();
    let asking = Asking::new(&[&format!("{}#bucket=b", nats.url())]);
    asking.passes();
    asking.passes();
    nats.api("STREAM.DELETE.KV_b", &json!({})).unwrap();
    assert_eq!(asking.round(), ["fail bucket b does not exist"]);
    nats.api("STREAM.CREATE.KV_b", &config).unwrap();
    asking.passes();
}

#[test]
fn a_nats_server_that_has_restarted_answers_as_on_a_new_connection() {
    for version in VERSIONS {
        let mut nats = Nats::start(version);
        let asking = Asking::new(&[&nats.url()]);
        asking.passes();
        nats.restart();
        asking.passes();
        asking.has_news_after(|| nats.stop());
        assert_eq!(asking.round(), ["unknown connection refused"]);
    }
}

#[test]
fn a_nats_server_that_asks_back_is_answered_while_the_connection_rests() {
    let nats = Nats::builder(NatsVersion::V2_15)
        .config("ping_interval: \"1s\"\nping_max: 3")
        .start();
    let asking = Asking::new(&[&nats.url()]);
    // It hangs up on who does not answer four times.
    let opened = connections(&nats, || {
        asking.passes();
        assert_eq!(asking.ended(Duration::from_secs(6)), None);
        asking.passes();
    });
    assert_eq!(opened, 1);
}

#[test]
fn a_user_of_nats_who_is_removed_is_news() {
    let users = |names: &str| format!("authorization {{ users: [{names}] }}");
    let both = users("{ user: a, password: one }, { user: b, password: two }");
    let mut nats = Nats::builder(NatsVersion::V2_15).config(&both).start();
    let asking = Asking::new(&[&format!("nats://a:one@127.0.0.1:{}", nats.port())]);
    asking.passes();
    asking.has_news_after(|| nats.reload(&users("{ user: b, password: two }")));
    assert_eq!(asking.round(), ["unknown Authorization Violation"]);
}

#[test]
fn a_member_of_a_cluster_that_tells_of_others_is_no_news() {
    use ready_probe_test_support::servers::NatsCluster;

    let mut cluster = NatsCluster::start(NatsVersion::V2_15);
    let asking = Asking::new(&[&cluster.server(0).url()]);
    asking.passes();
    let before = next_client(cluster.server(0));
    cluster.kill_all_but(0);
    assert_eq!(asking.ended(Duration::from_secs(1)), None);
    asking.passes();
    assert_eq!(next_client(cluster.server(0)), before + 1);
}

#[test]
fn a_silent_connection_to_nats_costs_a_part_of_the_time() {
    let nats = Nats::start(NatsVersion::V2_15);
    let proxy = Proxy::start(([127, 0, 0, 1], nats.port()).into());
    let asking = Asking::new(&[&format!("nats://127.0.0.1:{}", proxy.port())]);
    asking.passes_past_a_silence(&proxy);
}
