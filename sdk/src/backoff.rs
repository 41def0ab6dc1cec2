//! How long to wait before what has failed is tried again.

/// The shortest and the longest pause.
pub(crate) const BACKOFF_MS: (u64, u64) = (100, 5_000);

/// The longest pause after so many failures, in milliseconds: doubles from 100 ms to 5 s. The
/// pause is a random one from half of that on, so that many agents do not retry in step.
#[must_use]
pub fn ceiling_ms(failures: u32) -> u64 {
    let (least_ms, most_ms) = BACKOFF_MS;
    (least_ms << failures.min(6)).min(most_ms)
}

/// Such a pause.
#[cfg(feature = "agent")]
pub(crate) fn backoff_ms(failures: u32) -> u64 {
    let ceiling_ms = ceiling_ms(failures);
    fastrand::u64(ceiling_ms / 2..=ceiling_ms)
}

#[cfg(all(test, feature = "agent"))]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_from_100ms_to_5s_with_jitter() {
        for (failures, ceiling_ms) in [
            (0, 100),
            (1, 200),
            (5, 3_200),
            (6, 5_000),
            (u32::MAX, 5_000),
        ] {
            for _ in 0..100 {
                let pause_ms = backoff_ms(failures);
                assert!(
                    (ceiling_ms / 2..=ceiling_ms).contains(&pause_ms),
                    "{failures}: {pause_ms}"
                );
            }
        }
    }
}
