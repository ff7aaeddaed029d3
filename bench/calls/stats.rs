//! PURE: figures from samples.

use std::time::Duration;

/// Middle, least and most of several rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    /// The middle one; of an even number the upper one.
    pub(crate) median: f64,
    /// The least.
    pub(crate) least: f64,
    /// The most.
    pub(crate) most: f64,
}

impl Spread {
    /// Of these; of none: not a number.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |n: usize| sorted.get(n).copied().unwrap_or(f64::NAN);
        Self { median: at(sorted.len() / 2), least: at(0), most: at(sorted.len().saturating_sub(1)) }
    }

    /// `12.3 (11.9–13.0)`, with so many digits behind the point.
    pub(crate) fn told(self, digits: usize) -> String {
        let Self { median, least, most } = self;
        format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
    }
}

/// Where the samples lie, thinned to steps of half a percent: a value, and the part of them that does not exceed it; of none: nothing.
pub(crate) fn quantiles(samples: &[f64]) -> Vec<(f64, f64)> {
    const STEPS: usize = 200;
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return Vec::new() };
    (0..=STEPS).map(|step| (sorted[last * step / STEPS], step as f64 / STEPS as f64)).collect()
}

/// The duration that this part of the samples (0.5: half) does not exceed, in milliseconds; of none: not a number.
pub(crate) fn percentile(samples: &mut [Duration], part: f64) -> f64 {
    samples.sort_unstable();
    let index = ((samples.len() as f64 * part).ceil() as usize).saturating_sub(1);
    samples.get(index).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e3)
}

/// The mean of several rounds, and how far the true one may be from it with 95 % certainty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval {
    /// The mean.
    pub(crate) mean: f64,
    /// Half the interval's width; of fewer than two rounds it has no end.
    pub(crate) half: f64,
}

impl Interval {
    /// Of these, by Student's t; of none: not a number.
    pub(crate) fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let half = match values.len() {
            0 | 1 => f64::INFINITY,
            len => {
                let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
                student(len - 1) * (variance / n).sqrt()
            }
        };
        Self { mean, half }
    }

    /// Whether it is narrower than this part of the mean to either side.
    pub(crate) fn is_within(self, part: f64) -> bool {
        self.half < part * self.mean.abs()
    }

    /// `1.03 ± 0.02`, with so many digits behind the point.
    pub(crate) fn told(self, digits: usize) -> String {
        let Self { mean, half } = self;
        if half.is_finite() { format!("{mean:.digits$} ± {half:.digits$}") } else { format!("{mean:.digits$} (once)") }
    }
}

/// What 97.5 % of Student's distribution with so many degrees of freedom, from 1 on, do not exceed.
fn student(freedom: usize) -> f64 {
    const EXACT: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    // Beyond the table: within 0.1 % (2.201 for 11, 2.042 for 30, 1.960 for no end).
    EXACT.get(freedom - 1).copied().unwrap_or_else(|| 1.96 + 2.372 / freedom as f64 + 2.9 / (freedom as f64).powi(2))
}
