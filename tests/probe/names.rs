//! Names that a name server answers badly.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use ready_probe_test_support::dns::{NameServer, with_resolv_conf};
use ready_probe_test_support::hostile::{Behaviour, Hostile};
use ready_probe_test_support::process::{Run, run};
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_mentions};
use crate::starved::unless_starved;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// glibc asks again after 5 s, see resolv.conf(5): who leaves that to it has no answer by then.
const BEFORE_GLIBC: &str = "4500ms";

fn ask(names: &NameServer, target: &str) -> Run {
    let container = Container::new();
    let probe: Command = container.probe(["--timeout", BEFORE_GLIBC, target]);
    let mut probe = with_resolv_conf(&probe, &names.resolv_conf(), None);
    unless_starved(|| run(&mut probe))
}

#[test]
fn a_name_whose_ipv6_is_never_answered_passes_by_its_ipv4() {
    let redis = Redis::start();
    let names = NameServer::silent_for_ipv6(&[("cache.test", &[HERE])]);
    let run = ask(&names, &format!("redis://cache.test:{}", redis.port()));
    assert_mentions(&run, 0, &["healthy: 1 check passes"]);
    let run = ask(&names, "redis://nobody.test:1");
    assert_mentions(&run, 1, &["no answer within ", " (resolving nobody.test)"]);
}

#[test]
fn a_question_that_is_lost_is_asked_again_before_the_deadline() {
    let redis = Redis::start();
    let names = NameServer::losing_the_first(&[("cache.test", &[HERE])]);
    let run = ask(&names, &format!("redis://cache.test:{}", redis.port()));
    assert_mentions(&run, 0, &["healthy: 1 check passes"]);
    // Both families once, and once more.
    assert!(names.queries().len() >= 4, "{:?}", names.queries());
    let run = ask(&names, "redis://nobody.test:1");
    assert_mentions(&run, 1, &["DNS: Name or service not known"]);
}

#[test]
fn a_resolver_that_gives_up_early_does_not_end_the_questions() {
    let redis = Redis::start();
    let names = NameServer::losing_the_first_two(&[("cache.test", &[HERE])]);
    let resolv_conf = format!("{}options timeout:1 attempts:1\n", names.resolv_conf());
    let target = format!("redis://cache.test:{}", redis.port());
    let container = Container::new();
    let probe = container.probe(["--timeout", BEFORE_GLIBC, &target]);
    let mut probe = with_resolv_conf(&probe, &resolv_conf, None);
    let run = unless_starved(|| run(&mut probe));
    assert_mentions(&run, 0, &["healthy: 1 check passes"]);
}

#[test]
fn both_families_are_used_where_the_first_questions_are_lost() {
    let server = Hostile::tcp_on(Ipv6Addr::LOCALHOST.into(), Behaviour::Silent);
    let six = IpAddr::V6(Ipv6Addr::LOCALHOST);
    for addresses in [&[six][..], &[six, HERE]] {
        let names = NameServer::losing_the_first(&[("six.test", addresses)]);
        let run = ask(&names, &format!("tcp://six.test:{}", server.port()));
        assert_mentions(&run, 0, &["healthy: 1 check passes"]);
    }
}

#[test]
fn a_host_of_many_checks_is_looked_up_once() {
    let redis = Redis::start();
    let names = NameServer::start(&[("cache.test", &[HERE])]);
    let targets: Vec<String> = (0..12)
        .map(|db| format!("redis://cache.test:{}/{db}", redis.port()))
        .collect();
    let container = Container::new();
    let probe = container.probe(&targets);
    let run = run(&mut with_resolv_conf(&probe, &names.resolv_conf(), None));
    assert_mentions(&run, 0, &["healthy: 12 checks pass"]);
    // Two families, perhaps again on a busy machine; each check by itself would ask for both.
    let queries = names.queries();
    assert!(queries.len() < targets.len(), "{queries:?}");
}
