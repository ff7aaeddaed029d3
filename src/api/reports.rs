//! What there is of reports, and how a report that cannot be had is told.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::error::{ApiError, FieldError};
use crate::store::calls::Filter;
use crate::store::reports::ReportError;

/// When a place may be free again.
const RETRY: Duration = Duration::from_secs(2);

impl From<ReportError> for ApiError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::OwnPlaces(most) => {
                let detail = format!(
                    "You have {most} summaries or lists under way, which is what one user may have at once \
                     (limits.reports_per_user): wait until one has ended."
                );
                Self::too_many("too_many_reports", detail, RETRY)
            }
            ReportError::AllPlaces => {
                let detail = "All users together have as many summaries and lists under way as there may be (limits.reports): \
                              try again in a moment.";
                Self::unavailable("reports_busy", detail, RETRY)
            }
            ReportError::Busy => {
                let detail = "What is quickly found as a rule takes long at present: try again in a moment.";
                Self::unavailable("reports_busy", detail, RETRY)
            }
            ReportError::TooLong(limit) => {
                let most = format!("{} seconds (limits.report_seconds)", limit.as_secs_f64());
                let detail = format!(
                    "It took longer than {most} and was ended: ask for less time (from, to), or for fewer calls (caller, did, campaign_id …)."
                );
                let less = format!("ask for less time: what was asked for took longer than {most}");
                let errors = ["from", "to"].map(|field| FieldError::new(field, "range", less.clone()));
                Self::unprocessable("report_too_long", detail).with_errors(errors.into())
            }
            // Nobody is there to read it, unless the process stops.
            ReportError::Abandoned => Self::unavailable("reports_busy", "The report was ended.", RETRY),
            ReportError::Store(error) => error.into(),
        }
    }
}

/// How much time a summary may cover.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) now: DateTime<Utc>,
    /// At most.
    pub(super) days: u32,
}

impl Range {
    /// The filter with a beginning; refused where it covers too much.
    pub(super) fn of(self, filter: Filter) -> Result<Filter, ApiError> {
        let most = TimeDelta::days(self.days.into());
        // No call has arrived later than now.
        let end = filter.to.map_or(self.now, |to| to.min(self.now));
        let Some(from) = filter.from else {
            return Ok(Filter { from: Some(end - most), ..filter });
        };
        if end - from <= most {
            return Ok(filter);
        }
        let last = if filter.to.is_some_and(|to| to <= self.now) { "to" } else { "now" };
        let detail = format!(
            "{} lies more than {} days (limits.report_days) before {last} ({}): use {} or later, or an earlier to",
            from.to_rfc3339(),
            self.days,
            end.to_rfc3339(),
            (end - most).to_rfc3339(),
        );
        Err(ApiError::invalid(vec![FieldError::new("from", "range", detail)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect(text)
    }

    fn range(from: Option<&str>, to: Option<&str>) -> Result<Option<DateTime<Utc>>, ApiError> {
        let range = Range { now: at("2026-11-30T12:00:00Z"), days: 30 };
        range.of(Filter { from: from.map(at), to: to.map(at), ..Filter::default() }).map(|filter| filter.from)
    }

    #[test]
    fn a_summary_covers_so_many_days_and_no_microsecond_more() {
        assert_eq!(range(Some("2026-10-31T12:00:00Z"), None).expect("30 days"), Some(at("2026-10-31T12:00:00Z")));
        let refused = range(Some("2026-10-31T11:59:59.999999Z"), None).expect_err("a little more");
        let [error] = refused.errors() else { panic!("{refused:?}") };
        assert_eq!((error.field.as_str(), error.code.as_str()), ("from", "range"));
        for part in ["2026-10-31T11:59:59.999999+00:00", "30 days", "now", "use 2026-10-31T12:00:00+00:00 or later"] {
            assert!(error.detail.contains(part), "{part} in {}", error.detail);
        }
        // The same far away: what counts is the time between.
        assert!(range(Some("2020-01-01T00:00:00Z"), Some("2020-01-31T00:00:00Z")).is_ok());
        assert!(range(Some("2020-01-01T00:00:00Z"), Some("2020-01-31T00:00:01Z")).is_err());
    }

    #[test]
    fn without_a_beginning_it_covers_the_last_days_before_its_end() {
        assert_eq!(range(None, None).expect("allowed"), Some(at("2026-10-31T12:00:00Z")));
        assert_eq!(range(None, Some("2026-03-31T00:00:00Z")).expect("allowed"), Some(at("2026-03-01T00:00:00Z")));
        let early = range(None, Some("1970-01-01T00:00:00Z")).expect("before all calls");
        assert_eq!(early, Some(at("1969-12-02T00:00:00Z")));
    }
}
