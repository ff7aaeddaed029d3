//! PURE: times as Asterisk's CDR gives them, most of them without a zone.

use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, SubsecRound, TimeZone, Utc};
use chrono_tz::Tz;

/// The clocks of two machines may differ by so much.
const SKEW: Duration = Duration::minutes(10);
/// The step in which the begin of a gap is looked for: every zone's offset is a multiple of it.
const STEP: Duration = Duration::minutes(15);
/// The longest gap that a zone has had: a whole day, and one step more.
const STEPS: i32 = 97;

/// The moments that a time may mean, the earlier first: two for one that a clock showed twice, else one.
pub(super) type Moments = Vec<DateTime<Utc>>;

/// Reads `2026-10-25 01:30:00` (in `zone`), RFC 3339, or seconds since 1970. `None` for anything else.
pub(super) fn moments(text: &str, zone: Tz) -> Option<Moments> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return epoch(text).map(|at| vec![at]);
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(vec![at.to_utc().trunc_subsecs(6)]);
    }
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let local = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
    in_zone(local.trunc_subsecs(6), zone)
}

fn epoch(text: &str) -> Option<DateTime<Utc>> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let micros = seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)?;
    DateTime::from_timestamp_micros(micros)
}

/// A time that the zone's clock skipped is read as if it had not been put forward: by the offset before the gap.
fn in_zone(local: NaiveDateTime, zone: Tz) -> Option<Moments> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) => Some(vec![at.to_utc()]),
        LocalResult::Ambiguous(one, other) => {
            let mut both = vec![one.to_utc(), other.to_utc()];
            both.sort_unstable();
            Some(both)
        }
        LocalResult::None => (1..=STEPS).find_map(|steps| {
            let back = STEP * steps;
            let before = zone.from_local_datetime(&local.checked_sub_signed(back)?).latest()?;
            Some(vec![before.to_utc() + back])
        }),
    }
}

/// What a call's times mean together.
pub(super) struct Span {
    pub(super) start: DateTime<Utc>,
    pub(super) answer: Option<DateTime<Utc>>,
    pub(super) end: DateTime<Utc>,
}

impl Span {
    /// A call of which nothing is known but that it is over.
    pub(super) fn at(moment: DateTime<Utc>) -> Self {
        Self { start: moment, answer: None, end: moment }
    }
}

/// Chooses among the moments. The script reports when the call is over, so of two ends the later one is meant unless it has not come yet;
/// of two starts or answers the last one that is not after what follows it. An absent end is `received`, an absent start the answer.
/// It was over when it was received: a call that would end later is moved back as a whole.
///
/// # Errors
/// The field that lies before the one it must follow.
pub(super) fn span(
    start: Option<&Moments>,
    answer: Option<&Moments>,
    end: Option<&Moments>,
    received: DateTime<Utc>,
) -> Result<Span, (&'static str, &'static str)> {
    let earliest = |given: Option<&Moments>| given.and_then(|moments| moments.first().copied());
    let end_at = match end {
        Some(moments) => until(moments, received + SKEW),
        None => received.max(earliest(start).unwrap_or(received)).max(earliest(answer).unwrap_or(received)),
    };
    let answer_at = answer.map(|moments| until(moments, end_at));
    let start_at = start.map_or(answer_at.unwrap_or(end_at), |moments| until(moments, answer_at.unwrap_or(end_at)));
    if start_at > end_at {
        return Err(("end", "start"));
    }
    if answer_at.is_some_and(|at| at > end_at) {
        return Err(("end", "answer"));
    }
    if answer_at.is_some_and(|at| at < start_at) {
        return Err(("answer", "start"));
    }
    // The other machine's clock is ahead, or its zone is another: the call keeps its length.
    let ahead = (end_at - received).max(Duration::zero());
    Ok(Span { start: start_at - ahead, answer: answer_at.map(|at| at - ahead), end: end_at - ahead })
}

/// The last moment that is not after `limit`; the first where all are.
fn until(moments: &Moments, limit: DateTime<Utc>) -> DateTime<Utc> {
    moments.iter().rev().find(|at| **at <= limit).or(moments.first()).copied().unwrap_or(limit)
}
