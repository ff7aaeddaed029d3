//! PURE: what was found, as text.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::super::table::safe;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Calls go through, but something should be seen to.
    Warning,
    /// Calls will not go through as they should.
    Failed,
    /// Could not be looked at, because of an earlier failure or because there is nothing to look at.
    Skipped,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub subject: String,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// How to mend it.
    pub mend: Option<String>,
}

impl Check {
    pub(crate) fn ok(subject: &str, found: String) -> Self {
        Self { subject: subject.to_owned(), outcome: Outcome::Ok, found, mend: None }
    }

    pub(crate) fn skipped(subject: &str, found: String) -> Self {
        Self { outcome: Outcome::Skipped, ..Self::ok(subject, found) }
    }

    pub(crate) fn warning(subject: &str, found: String, mend: impl Into<String>) -> Self {
        Self { outcome: Outcome::Warning, mend: Some(mend.into()), ..Self::ok(subject, found) }
    }

    pub(crate) fn failed(subject: &str, found: String, mend: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, mend: Some(mend.into()), ..Self::ok(subject, found) }
    }
}

/// How many checks failed.
#[must_use]
pub fn failures(checks: &[Check]) -> usize {
    checks.iter().filter(|check| check.outcome == Outcome::Failed).count()
}

/// One line for each check, below it how to mend it, and a last line that counts.
#[must_use]
pub fn render(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.subject.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let word = match check.outcome {
            Outcome::Ok => "ok",
            Outcome::Warning => "warn",
            Outcome::Failed => "FAIL",
            Outcome::Skipped => "skip",
        };
        let _ = writeln!(text, "{word:<5} {:<width$}  {}", safe(&check.subject), safe(&check.found));
        if let Some(mend) = &check.mend {
            let _ = writeln!(text, "{:<5} {:<width$}  → {}", "", "", safe(mend));
        }
    }
    let count = |outcome| checks.iter().filter(|check| check.outcome == outcome).count();
    let (failed, warned, skipped) = (failures(checks), count(Outcome::Warning), count(Outcome::Skipped));
    let _ = writeln!(text, "{} checks: {failed} failed, {warned} warnings, {skipped} skipped", checks.len());
    text
}
