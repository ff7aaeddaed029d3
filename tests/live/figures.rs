//! What `just bench` makes of its samples.

#[allow(dead_code, reason = "a program of its own uses the rest: bench/calls/main.rs")]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are small"
)]
#[path = "../../bench/calls/stats.rs"]
mod stats;

use stats::Interval;

#[test]
fn an_interval_is_that_of_students_t() {
    // By hand: mean 1.02, standard deviation 0.02, 3 rounds: 4.303 * 0.02 / sqrt(3).
    let interval = Interval::of(&[1.0, 1.02, 1.04]);
    assert_eq!(interval.told(4), "1.0200 ± 0.0497");
    assert!(interval.is_within(0.05) && !interval.is_within(0.048));
    // Beyond the table: 2.145 for 14 degrees of freedom.
    let many: Vec<f64> = (0..15).map(|n| if n % 2 == 0 { 0.9 } else { 1.1 }).collect();
    let deviation = (many.iter().map(|value| (value - Interval::of(&many).mean).powi(2)).sum::<f64>() / 14.0).sqrt();
    assert!((Interval::of(&many).half / (2.145 * deviation / 15_f64.sqrt()) - 1.0).abs() < 0.002);
}

#[test]
fn rounds_that_are_too_few_are_never_certain() {
    for few in [&[][..], &[1.0]] {
        assert!(!Interval::of(few).is_within(0.5), "{few:?}");
    }
    assert!(!Interval::of(&[1.0, 1.02]).is_within(0.05), "two rounds 2 % apart say little");
    assert!(Interval::of(&[1.0, 1.0]).is_within(0.05));
}
