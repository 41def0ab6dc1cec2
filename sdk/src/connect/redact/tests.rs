use super::*;

#[test]
fn secrets_and_userinfo_never_pass() {
    let mut secrets = Secrets::default();
    secrets.add("hunter2");
    secrets.add("hunter2-long");
    assert_eq!(
        secrets.quote(
            "WRONGPASS hunter2-long for\r\nredis://u:p@h/0 is hunter2",
            200
        ),
        "WRONGPASS *** for redis://***@h/0 is ***"
    );
    assert_eq!(
        secrets.quote("see http://h/p?token=abc,next", 99),
        "see http://h/p?***"
    );
}

#[test]
fn the_beginning_of_a_secret_at_a_cut_does_not_pass() {
    let mut secrets = Secrets::default();
    secrets.add("hünter2-long");
    for (cut, want) in [
        ("for hünter2-lon…", "for ***"),
        ("for hü…", "for ***"),
        ("for hunter2…", "for hunter2…"),
        ("for hünter2-lon", "for ***"),
    ] {
        assert_eq!(secrets.quote(cut, 99), want);
    }
}

#[test]
fn control_characters_and_length_are_bounded() {
    let secrets = Secrets::default();
    assert_eq!(secrets.quote("a\u{1b}[31mred\u{7}", 20), "a [31mred ");
    assert_eq!(secrets.quote("aaaaaaaa", 4), "aaa…");
}

fn knowing(known: &[&str]) -> Secrets {
    let mut secrets = Secrets::default();
    known.iter().for_each(|secret| secrets.add(secret));
    secrets
}

#[test]
fn a_known_secret_is_recognised_in_every_form_in_which_it_comes_back() {
    let secrets = knowing(&["p/ss w\"rd'ü$1"]);
    for said in [
        "p/ss w\"rd'ü$1",
        "p%2Fss%20w%22rd%27%C3%BC%241",
        "p%2fss+w%22rd'%c3%bc$1",
        "%70%2F%73%73%20%77%22%72%64%27%C3%BC%24%31",
        "p%252Fss%2520w%2522rd%2527%25C3%25BC%25241",
        r#"p/ss w\"rd'ü$1"#,
        r#"p\/ss w\"rd'\u00fc$1"#,
        r#"p\/ss w\\\"rd'\\u00FC$1"#,
        r#"p/ss\ w\"rd\'ü\$1"#,
        r#"p/ss w\x22rd\x27\xc3\xbc\x241"#,
        r#"p/ss w\042rd\047\303\274\0441"#,
        r#"p/ss w"rd'\''ü$1"#,
        r#"p/ss w"rd'"'"'ü$1"#,
        r#"p/ss w\"rd\'\u{fc}$1"#,
        "p/ss w&quot;rd&#39;&#xfc;$1",
        "p/ss  w\"rd'ü$1",
        r#"p/ss w"rd'\xfc$1"#,
        r#"p/ss w"rd'\x{fc}$1"#,
        "cC9zcyB3InJkJ8O8JDE=",
        "cC9zcyB3\nInJkJ8O\r\n8JDE=",
        "cC9zcyB3InJkJ8O8JDE",
        "dXNlcjpwL3NzIHcicmQnw7wkMQ==",
    ] {
        let quoted = secrets.quote(&format!("<{said}>"), 200);
        assert!(quoted.contains("***"), "{said}: {quoted}");
        for trace in ["rd", "ss", "%73", "bc", "zcyB", "NzIHc"] {
            assert!(!quoted.contains(trace), "{said}: {quoted}");
        }
    }
}

#[test]
fn secrets_that_overlap_leave_nothing_of_each_other() {
    let secrets = knowing(&["abcdef", "defghi", "hunter2", "hunter2-long"]);
    for (said, want) in [
        ("<abcdefghi>", "<***>"),
        ("<hunter2-long>", "<***>"),
        ("<hunter2hunter2>", "<******>"),
    ] {
        assert_eq!(secrets.quote(said, 99), want);
    }
}

#[test]
fn a_secret_that_somebody_cut_short_does_not_pass() {
    let secrets = knowing(&["hunter/two-long"]);
    for (said, want) in [
        ("no hunter%2Ftw", "no ***"),
        ("no hunter%2", "no ***"),
        ("args: 'hunter/tw'", "args: '***'"),
        ("no hunter\\/tw...", "no ***..."),
        ("no hunter/two-lo\u{fffd}", "no ***"),
        // Three characters give nothing away, and are a part of many words.
        ("no hun", "no hun"),
        // A cut that is marked as one leaves no doubt.
        ("no hun…", "no ***"),
        ("no hunter%…", "no ***"),
    ] {
        assert_eq!(secrets.quote(said, 99), want, "{said}");
    }
}

#[test]
fn an_address_of_somebody_else_is_quoted_without_its_userinfo_however_it_is_written() {
    let secrets = Secrets::default();
    for (said, want) in [
        (
            "bad redis://u:pa#ss@h:1/2, sorry",
            "bad redis://***@h:1/2, sorry",
        ),
        ("bad redis://u:pa/ss@h:1", "bad redis://***@h:1"),
        ("bad redis://u:pa?ss@h:1", "bad redis://***@h:1"),
        ("bad redis://u:pa@ss@h:1", "bad redis://***@h:1"),
        ("bad redis://u:pa ss@h:1 (x)", "bad redis://***@h:1 (x)"),
        ("bad redis://u:pa\"s's@h:1", "bad redis://***@h:1"),
        ("bad redis://u:http://ss@h:1", "bad redis://***@h:1"),
        (r"bad redis:\/\/u:pa\/ss@h:1", r"bad redis:\/\/***@h:1"),
        (
            "bad redis%3A%2F%2Fu%3Apass%40h",
            "bad redis%3A%2F%2F***%40h",
        ),
        (
            "redis://u:pa ss@a:1 and nats://tok@b and http://c/d",
            "redis://***@a:1 and nats://***@b and http://c/d",
        ),
        ("redis://a:1,u:pass@b:2 x", "redis://***@b:2 x"),
        ("see http://h/p?token=abc,next", "see http://h/p?***"),
        ("redis://u:p@h?password=x y", "redis://***@h?*** y"),
        // It may have been cut before the `@`.
        ("bad redis://u:hunter2…", "bad redis://***"),
        ("bad redis://u:6379…", "bad redis://u:6379…"),
        ("write tcp://HOST:PORT", "write tcp://HOST:PORT"),
        ("write tcp://…", "write tcp://…"),
        ("no redis://a:1,b:2", "no redis://a:1,b:2"),
        (
            "redis://h:port is no address",
            "redis://h:port is no address",
        ),
    ] {
        assert_eq!(secrets.quote(said, 99), want, "{said}");
    }
}

/// One way to write a character down.
fn written(c: char, how: u8) -> String {
    let bytes = |format: fn(u8) -> String| {
        let mut buffer = [0; 4];
        c.encode_utf8(&mut buffer)
            .bytes()
            .map(format)
            .collect::<String>()
    };
    match how {
        1 => bytes(|b| format!("%{b:02X}")),
        2 => bytes(|b| format!("%{b:02x}")),
        3 => bytes(|b| format!("\\x{b:02x}")),
        4 => bytes(|b| format!("%25{b:02X}")),
        5 => {
            let mut units = [0; 2];
            let units = c.encode_utf16(&mut units).iter();
            units.map(|unit| format!("\\u{unit:04x}")).collect()
        }
        6 => c.escape_debug().collect(),
        7 if c.is_ascii_punctuation() => format!("\\{c}"),
        8 => format!("&#{};", u32::from(c)),
        _ => c.to_string(),
    }
}

proptest::proptest! {
    #[test]
    fn no_encoding_of_a_secret_passes(
        secret in "[ -~äß€😀]{4,24}",
        how in proptest::collection::vec(0_u8..9, 24),
        one in 0_u8..9,
        mixed: bool,
        cut in 0_usize..40,
    ) {
        let secret = format!("{}Q", secret.trim_start());
        let secrets = knowing(&[&secret]);
        let coded: Vec<String> = secret
            .chars()
            .zip(how)
            .map(|(c, how)| written(c, if mixed { how } else { one }))
            .collect();
        proptest::prop_assert_eq!(secrets.quote(&format!("<{}>", coded.concat()), 999), "<***>");
        // Cut between two characters, or in the middle of one.
        let whole: String = coded.concat();
        let kept: String = whole.chars().take(cut).collect();
        let quoted = secrets.quote(&format!("<{kept}…"), 999);
        let has_one = kept.starts_with(coded.first().map_or("", String::as_str));
        proptest::prop_assert!(!has_one || quoted.trim_end_matches('…').trim_start_matches('<') == "***", "{}", quoted);
    }

    #[test]
    fn nothing_of_a_password_in_somebody_elses_address_passes(
        password in "[ -~]{4,20}",
        before in "[a-z ]{0,9}",
        after in "[a-z :]{0,9}",
    ) {
        let secret = format!("zQ9{password}9Qz");
        let said = format!("{before} redis://user:{secret}@host:1/2 {after}");
        let quoted = Secrets::default().quote(&said, 999);
        proptest::prop_assert!(!quoted.contains("zQ9") && !quoted.contains("9Qz"), "{}", quoted);
    }
}

#[test]
fn what_looks_like_an_address_within_a_password_is_a_part_of_it() {
    let quote = |text: &str| Secrets::default().quote(text, 999);
    for password in ["zQ9;0://9Qz", "zQ9 a://b,c://9Qz", "zQ9/;a://9Qz"] {
        assert_eq!(
            quote(&format!("no redis://user:{password}@host:1/2 there")),
            "no redis://***@host:1/2 there"
        );
    }
    // What is a port is no password, and each address has its own.
    assert_eq!(
        quote("redis://a:6379, or nats://u:p@b:4222; http://[::1]:80, tls://u:q@c"),
        "redis://a:6379, or nats://***@b:4222; http://[::1]:80, tls://***@c"
    );
}

#[test]
fn a_long_text_takes_no_long_time() {
    let secrets = knowing(&["\\\\ a b", "%25%25%25", "://@"]);
    for piece in [
        "\\",
        "%25",
        "://",
        "a ",
        "+",
        "password=",
        "&#37;",
        "%3A%2F%2F",
    ] {
        let started = crate::clock::instant();
        secrets.quote(&piece.repeat(256 * 1_024), 200);
        let elapsed = started.elapsed();
        assert!(
            elapsed < std::time::Duration::from_secs(5),
            "{piece}: {elapsed:?}"
        );
    }
}
