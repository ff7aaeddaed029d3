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
