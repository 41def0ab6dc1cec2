use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    process::Command,
    time::Duration,
};

use super::{AAAA, NameServer, SilentNameServer, with_resolv_conf};
use crate::process::run;

const NSSWITCH: &str = "hosts: dns\n";

fn getent(args: &[&str]) -> Command {
    let mut command = Command::new("getent");
    command.args(args);
    command
}

/// The answer to a question in a packet of our own, as getent asks for AAAA only where IPv6 works.
fn ask(server: &NameServer, name: &str, kind: u16) -> Vec<u8> {
    let mut packet = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend(label.bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket.send_to(&packet, (server.ip(), 53)).unwrap();
    let mut reply = [0; 512];
    let n = socket.recv(&mut reply).unwrap();
    reply[..n].to_vec()
}

#[test]
fn a_host_has_all_its_addresses_and_others_do_not_exist() {
    let addresses =
        [[127, 0, 0, 1], [127, 0, 0, 2]].map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    let server = NameServer::start(&[("Two.test", &addresses)]);
    let found = run(&mut with_resolv_conf(
        &getent(&["ahostsv4", "two.test"]),
        &server.resolv_conf(),
        Some(NSSWITCH),
    ));
    assert_eq!(found.code(), 0, "{found:?}");
    assert!(
        found.stdout.contains("127.0.0.1 ") && found.stdout.contains("127.0.0.2 "),
        "{found:?}"
    );
    let none = run(&mut with_resolv_conf(
        &getent(&["ahostsv4", "none.test"]),
        &server.resolv_conf(),
        None,
    ));
    assert_eq!(none.code(), 2, "{none:?}");
    assert!(
        server.queries().contains(&"two.test".to_owned())
            && server.queries().contains(&"none.test".to_owned())
    );
}

#[test]
fn addresses_of_the_other_family_are_an_empty_answer() {
    let both = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ];
    let server = NameServer::start(&[("both.test", &both), ("four.test", &both[..1])]);
    let six = ask(&server, "both.test", AAAA);
    assert_eq!((&six[..4], six[7]), (&[0xab, 0xcd, 0x85, 0x80][..], 1));
    assert!(six.ends_with(&Ipv6Addr::LOCALHOST.octets()));
    let four = ask(&server, "four.test", AAAA);
    assert_eq!((four[3], four[7]), (0x80, 0));
    assert_eq!(ask(&server, "none.test", AAAA)[3], 0x83);
}

#[test]
fn a_silent_server_is_asked_in_vain() {
    let server = SilentNameServer::start();
    let resolv_conf = format!("{}options timeout:1 attempts:1\n", server.resolv_conf());
    let found = run(&mut with_resolv_conf(
        &getent(&["ahosts", "any.test"]),
        &resolv_conf,
        Some(NSSWITCH),
    ));
    assert_ne!(found.code(), 0);
    assert!(found.elapsed >= Duration::from_millis(900), "{found:?}");
    assert!(
        server.queries().contains(&"any.test".to_owned()),
        "{:?}",
        server.queries()
    );
}

#[test]
fn two_servers_do_not_share_an_address() {
    assert_ne!(
        SilentNameServer::start().ip(),
        SilentNameServer::start().ip()
    );
}

#[test]
fn the_program_sees_the_texts_and_nobody_else_does() {
    let before = std::fs::read_to_string("/etc/resolv.conf").unwrap();
    let mut cat = Command::new("cat");
    cat.args(["/etc/resolv.conf", "/etc/nsswitch.conf"]);
    let texts = run(&mut with_resolv_conf(
        &cat,
        "# it's \"%s\" $HOME\n",
        Some("hosts: files\n"),
    ));
    assert_eq!(
        texts.stdout, "# it's \"%s\" $HOME\nhosts: files\n",
        "{texts:?}"
    );
    assert_eq!(std::fs::read_to_string("/etc/resolv.conf").unwrap(), before);
}

#[test]
fn environment_directory_and_exit_code_are_the_programs() {
    let mut sh = Command::new("sh");
    sh.args(["-c", "/usr/bin/env; pwd; exit 9"])
        .env_clear()
        .env("READY_X", "1")
        .current_dir("/usr");
    let seen = run(&mut with_resolv_conf(&sh, "", None));
    assert_eq!(seen.code(), 9);
    assert!(
        seen.stdout.contains("READY_X=1") && seen.stdout.contains("/usr\n"),
        "{seen:?}"
    );
    assert!(!seen.stdout.contains("CARGO"), "{seen:?}");
}
