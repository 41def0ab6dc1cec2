//! A store known by its name, which is to be resolved again and again.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;

use ready_probe_test_support::dns::{NameServer, with_resolv_conf};
use ready_probe_test_support::servers::{Nats, Redis};

use crate::bucket::{Bucket, VERSIONS};
use crate::common::program::{Program, run_by};
use crate::common::{TempFolder, until};
use crate::fixture::{assert_heals, keys, record, until_told};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Nobody answers there, and nobody refuses: for documentation only (RFC 5737).
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// An agent `named` in a process of its own that is announced at `url`, through this name server.
fn announced(folder: &TempFolder, names: &NameServer, user: u32, url: &str) -> Program {
    std::fs::create_dir_all(folder.path()).unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o1777)).unwrap();
    std::fs::set_permissions(
        folder.path().parent().unwrap(),
        PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let mut command = run_by(user);
    command.env("READY_STORE", url);
    let command = with_resolv_conf(&command, &names.resolv_conf(), None);
    let mut program = Program::start_with(&folder.path(), command);
    program.tell("register named 6000");
    program.tell("ready");
    program.tell("wait_announced");
    program
}

#[test]
fn after_a_failover_the_name_leads_to_another_server() {
    let (mut old, folder) = (Redis::start(), TempFolder::new());
    let names = NameServer::start(&[("store.test", &[HERE])]);
    let url = format!("redis://store.test:{}", old.port());
    let _program = announced(&folder, &names, 0, &url);
    let new = Redis::builder()
        .port(old.port())
        .args(&["--bind", "127.0.0.2"])
        .start();
    names.point("store.test", &[THERE]);
    // Its connections stay: it answers, and says that it is a replica now.
    old.command(&["REPLICAOF", "127.0.0.2", &old.port().to_string()]);
    until("the new one has the signal", || record(&new, "named"));
    until("the agent knows", || {
        folder.record("named").announced.filter(|a| a.ok)
    });
    old.kill();
    assert_eq!(keys(&new, "*").len(), 3);
}

#[test]
fn an_address_that_keeps_silent_does_not_keep_the_next_one_waiting() {
    let (redis, folder) = (Redis::start(), TempFolder::new());
    let names = NameServer::start(&[("store.test", &[NOWHERE, HERE])]);
    let url = format!("redis://store.test:{}", redis.port());
    let _program = announced(&folder, &names, 0, &url);
    assert!(record(&redis, "named").is_some());
}

#[test]
fn a_name_whose_ipv6_is_never_answered_is_announced_by_its_ipv4() {
    for names in [
        NameServer::silent_for_ipv6(&[("store.test", &[HERE])]),
        NameServer::losing_the_first(&[("store.test", &[HERE])]),
    ] {
        let (redis, folder) = (Redis::start(), TempFolder::new());
        let url = format!("redis://store.test:{}", redis.port());
        let _program = announced(&folder, &names, 0, &url);
        assert!(record(&redis, "named").is_some());
    }
}

#[test]
fn a_process_that_can_have_no_more_threads_says_so_and_goes_on() {
    let (mut redis, folder) = (Redis::start(), TempFolder::new());
    let names = NameServer::start(&[("store.test", &[HERE])]);
    let url = format!("redis://store.test:{}", redis.port());
    let mut program = announced(&folder, &names, 61_001, &url);
    program.tell("no_more_threads");
    redis.restart();
    until_told(&folder, "named", "no thread available");
    program.tell("not_ready still here");
    assert_eq!(folder.says("named"), ["not_ready: still here"]);
    program.tell("threads_again");
    assert_heals(&folder, "named");
}

#[test]
fn with_nats_as_well() {
    for (version, user) in VERSIONS.into_iter().zip([61_002, 61_003]) {
        let mut nats = Nats::builder(version).jetstream().start();
        let folder = TempFolder::new();
        let names = NameServer::start(&[("store.test", &[HERE])]);
        let url = format!("nats://store.test:{}", nats.port());
        let mut program = announced(&folder, &names, user, &url);
        program.tell("no_more_threads");
        nats.restart();
        until_told(&folder, "named", "no thread available");
        program.tell("not_ready still here");
        program.tell("threads_again");
        assert_heals(&folder, "named");
        assert!(Bucket::of(&nats).record("named").is_some());
    }
}
