//! As much of the Redis protocol (RESP2) as a test's own commands need.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// Above what any command of a test takes; a server that is paused must not hang the test.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A user's name, for servers that have more than one, and a password.
pub(super) type Login<'a> = (Option<&'a str>, &'a str);

/// Sends one command, on a connection of its own, and gives the reply as text.
///
/// Values stand as they are, an array's on a line each; no value is `(nil)`, an error is
/// `(error) …`, as redis-cli shows them.
pub(super) fn command(
    socket: &Path,
    login: Option<Login<'_>>,
    words: &[&str],
) -> io::Result<String> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut replies = BufReader::new(&stream);
    if let Some((user, password)) = login {
        let words: Vec<&str> = ["AUTH"].into_iter().chain(user).chain([password]).collect();
        (&stream).write_all(&encode(&words))?;
        let reply = read_reply(&mut replies)?;
        // A server that wants no password says so with an error, and serves the command all the same.
        if reply.starts_with("(error) WRONGPASS") {
            return Ok(reply);
        }
    }
    (&stream).write_all(&encode(words))?;
    read_reply(&mut replies)
}

fn encode(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    out
}

fn read_reply(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| malformed(line))?;
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "-" => Ok(format!("(error) {rest}")),
        "$" | "*" if rest == "-1" => Ok("(nil)".to_owned()),
        "$" => {
            let length: usize = rest.parse().map_err(|_| malformed(line))?;
            let mut value = vec![0; length + 2];
            from.read_exact(&mut value)?;
            Ok(String::from_utf8_lossy(&value[..length]).into_owned())
        }
        "*" => {
            let count: usize = rest.parse().map_err(|_| malformed(line))?;
            let items = (0..count)
                .map(|_| read_reply(from))
                .collect::<io::Result<Vec<_>>>()?;
            Ok(items.join("\n"))
        }
        _ => Err(malformed(line)),
    }
}

fn malformed(line: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not a Redis reply: {line}"),
    )
}

#[cfg(test)]
mod tests {
    use super::{encode, read_reply};

    #[test]
    fn replies_read_as_redis_cli_shows_them() {
        for (wire, shown) in [
            ("+OK\r\n", "OK"),
            (":7\r\n", "7"),
            ("-NOAUTH who\r\n", "(error) NOAUTH who"),
            ("$-1\r\n", "(nil)"),
            ("$5\r\na\r\nbc\r\n", "a\r\nbc"),
            ("$0\r\n\r\n", ""),
            ("*2\r\n$1\r\na\r\n:1\r\n", "a\n1"),
            ("*-1\r\n", "(nil)"),
        ] {
            assert_eq!(read_reply(&mut wire.as_bytes()).unwrap(), shown, "{wire:?}");
        }
        assert!(read_reply(&mut "HTTP/1.1 200 OK\r\n".as_bytes()).is_err());
        assert!(read_reply(&mut "".as_bytes()).is_err());
    }

    #[test]
    fn lengths_count_bytes() {
        assert_eq!(
            encode(&["GET", "ü"]),
            "*2\r\n$3\r\nGET\r\n$2\r\nü\r\n".as_bytes()
        );
    }
}
