//! Where Redis is: every way to write it, and every address that a name has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ready_probe_test_support::dns::{NameServer, with_resolv_conf};
use ready_probe_test_support::hostile::{Behaviour, Hostile, refused_port};
use ready_probe_test_support::process::run;
use ready_probe_test_support::servers::Redis;

use crate::container::{Container, assert_mentions, assert_said, assert_variable_passes, row};

const HEALTHY: &str = "healthy: 1 check passes";
const PASSWORD: &str = "hUnTeR2";

#[track_caller]
fn assert_passes(target: &str) {
    assert_said(&Container::new().ask(target), 0, HEALTHY);
}

#[test]
fn the_applications_variable_is_understood_as_its_clients_understand_it() {
    let redis = Redis::with(&["--requirepass", PASSWORD]);
    let (port, socket) = (redis.port(), redis.unix_socket());
    let socket = socket.display();
    let dead = refused_port().port();
    let urls = [
        format!("redis://:{PASSWORD}@127.0.0.1:{port}"),
        format!("  redis://:{PASSWORD}@127.0.0.1:{port}/0  "),
        format!("valkey://default:{PASSWORD}@localhost:{port}/0"),
        format!(":{PASSWORD}@127.0.0.1:{port}"),
        format!("127.0.0.1:{port}?password={PASSWORD}"),
        format!("localhost:{port}/2?password={PASSWORD}&max_connections=50&socket_timeout=5"),
        format!("redis://:{PASSWORD}@127.0.0.1:{dead},127.0.0.1:{port}"),
        format!("redis://:{PASSWORD}@127.0.0.1:{port},redis://127.0.0.1:{dead}"),
        format!("unix://{socket}?db=1&password={PASSWORD}"),
        format!("redis+unix://{socket}?username=default&password={PASSWORD}"),
    ];
    let container = Container::new();
    for url in urls {
        assert_variable_passes(&container, "REDIS_URL", &url, PASSWORD);
    }
}

#[test]
fn every_server_of_a_list_with_credentials_is_named() {
    let redis = Redis::with(&["--requirepass", PASSWORD]);
    let (dead, port) = (refused_port().port(), redis.port());
    let run = Container::new().ask(format!(
        "redis://127.0.0.1:{dead},:{PASSWORD}@127.0.0.1:{port}"
    ));
    assert_said(&run, 0, HEALTHY);
    let label = format!("redis://127.0.0.1:{dead},***@127.0.0.1:{port}");
    assert_eq!(
        row(&run, &label),
        ("pass", format!("by 127.0.0.1:{port}").as_str())
    );
}

#[test]
fn of_a_list_one_server_is_enough_and_none_is_told_in_full() {
    let redis = Redis::start();
    let dead = [refused_port(), refused_port()];
    let list = |ports: &[u16]| {
        let hosts: Vec<String> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        format!("redis://{}", hosts.join(","))
    };
    let target = list(&[dead[0].port(), redis.port()]);
    let run = Container::new().ask(&target);
    assert_said(&run, 0, HEALTHY);
    assert_eq!(
        row(&run, &target),
        ("pass", format!("by 127.0.0.1:{}", redis.port()).as_str())
    );

    let target = list(&[dead[0].port(), dead[1].port()]);
    let run = Container::new().ask(&target);
    for port in &dead {
        assert_mentions(
            &run,
            1,
            &[&format!("127.0.0.1:{}: connection refused", port.port())],
        );
    }
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    let redis = Redis::with(&["--bind", "127.0.0.1", "::1"]);
    assert_passes(&format!("redis://[::1]:{}", redis.port()));
    let target = format!("redis://[::1]:{}/x", refused_port().port());
    assert_eq!(Container::new().ask(target).code(), 64);
    let target = format!("redis://[::1]:{}", refused_port().port());
    let refused =
        format!("unhealthy: dependency {target}: connection refused; it has never passed");
    assert_said(&Container::new().ask(&target), 1, &refused);
}

#[test]
fn localhost_is_either_loopback_address() {
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let server = Hostile::tcp_on(ip, Behaviour::Script(vec![b"+PONG\r\n".to_vec()]));
        assert_passes(&format!("redis://localhost:{}", server.port()));
        assert_passes(&format!("tcp://LOCALHOST:{}", server.port()));
    }
    let target = format!("redis://localhost:{}", refused_port().port());
    let refused =
        format!("unhealthy: dependency {target}: connection refused; it has never passed");
    assert_said(&Container::new().ask(&target), 1, &refused);
}

#[test]
fn every_address_of_a_host_is_tried() {
    let redis = Redis::start();
    let others: [IpAddr; 3] = [
        Ipv4Addr::new(127, 9, 9, 9).into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv4Addr::LOCALHOST.into(),
    ];
    let names = NameServer::start(&[("cache.internal", &others), ("empty.internal", &[])]);
    let container = Container::new();
    let ask = |host: &str| {
        let probe = container.probe([format!("redis://{host}:{}", redis.port())]);
        run(&mut with_resolv_conf(&probe, &names.resolv_conf(), None))
    };
    assert_said(&ask("cache.internal"), 0, HEALTHY);
    assert_mentions(
        &ask("nosuch.internal"),
        1,
        &["DNS: ", "it has never passed"],
    );
    assert_mentions(&ask("empty.internal"), 1, &["DNS: ", "it has never passed"]);
}
