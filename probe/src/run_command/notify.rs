//! What a program says by sd_notify(3): the lines of a datagram, and what they mean. No I/O.

/// What one line says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// `READY=1`: it has started up, or reloaded.
    Ready,
    /// `RELOADING=1`: until the next `READY=1`.
    Reloading,
    /// `STOPPING=1`: for good.
    Stopping,
    /// `STATUS=…`: for people.
    Status(String),
    /// `WATCHDOG=1`: it makes progress.
    Alive,
    /// `WATCHDOG=trigger`: it has found itself to hang.
    Stalled,
    /// `WATCHDOG_USEC=…`: how often it is going to say `WATCHDOG=1`; 0 is never.
    WatchdogMs(u64),
    /// `MAINPID=…`: which process is the program.
    MainPid(u32),
}

/// The lines of a datagram, in their order. What is unknown is passed over, as systemd does.
pub fn parse(datagram: &[u8]) -> Vec<Said> {
    String::from_utf8_lossy(datagram)
        .split('\n')
        .filter_map(line)
        .collect()
}

/// Whether it waits for everything before to be published.
pub fn is_barrier(datagram: &[u8]) -> bool {
    datagram.split(|b| *b == b'\n').any(|l| l == b"BARRIER=1")
}

fn line(line: &str) -> Option<Said> {
    let (name, value) = line.split_once('=')?;
    match (name, value) {
        ("READY", "1") => Some(Said::Ready),
        ("RELOADING", "1") => Some(Said::Reloading),
        ("STOPPING", "1") => Some(Said::Stopping),
        ("STATUS", text) => Some(Said::Status(text.trim().to_owned())),
        ("WATCHDOG", "1") => Some(Said::Alive),
        ("WATCHDOG", "trigger") => Some(Said::Stalled),
        ("WATCHDOG_USEC", usec) => {
            let usec: u64 = usec.parse().ok()?;
            Some(Said::WatchdogMs(usec.div_ceil(1_000)))
        }
        ("MAINPID", pid) => {
            let pid = pid.parse().ok()?;
            (pid > 0).then_some(Said::MainPid(pid))
        }
        // BARRIER=1 is done when its descriptor is closed.
        (_, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_is_a_line_of_its_own() {
        assert!(is_barrier(b"BARRIER=1"));
        assert!(is_barrier(b"READY=1\nBARRIER=1\n"));
        assert!(!is_barrier(b"BARRIER=10\nXBARRIER=1"));
    }

    #[test]
    fn every_line_counts_wherever_it_stands() {
        let table: [(&[u8], Vec<Said>); 12] = [
            (b"READY=1", vec![Said::Ready]),
            (b"READY=1\n", vec![Said::Ready]),
            (
                b"STATUS=loaded\nREADY=1\nMAINPID=17\n",
                vec![
                    Said::Status("loaded".to_owned()),
                    Said::Ready,
                    Said::MainPid(17),
                ],
            ),
            (b"READY=0", vec![]),
            (b"READY=", vec![]),
            (b"NOTREADY=1\n=\n\nREADY", vec![]),
            (b"X_READY=1\nBARRIER=1\nFDSTORE=1", vec![]),
            (b"RELOADING=1\nMONOTONIC_USEC=5", vec![Said::Reloading]),
            (
                b"WATCHDOG=1\nWATCHDOG=trigger\nWATCHDOG_USEC=1500",
                vec![Said::Alive, Said::Stalled, Said::WatchdogMs(2)],
            ),
            (b"MAINPID=0\nMAINPID=-1\nMAINPID=x", vec![]),
            (b"STOPPING=1", vec![Said::Stopping]),
            (
                b"STATUS=a=b \xff",
                vec![Said::Status("a=b \u{fffd}".to_owned())],
            ),
        ];
        for (datagram, want) in table {
            let shown = String::from_utf8_lossy(datagram);
            assert_eq!(parse(datagram), want, "{shown:?}");
        }
    }
}
