//! Faults on demand.

use std::time::Duration;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Carried out; the answer is never sent.
    SwallowAnswer,
    /// Neither carried out nor answered.
    Ignore,
    /// Carried out and answered after this time; requests behind it on the same socket wait.
    Delay(Duration),
    /// Carried out and answered once the test has mended everything; requests behind it on the same socket wait.
    Held,
    /// Not carried out; answered with this status.
    Status(u16),
    /// Carried out; then the connection is closed instead of an answer.
    Disconnect,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) text: String,
    pub(super) times: u32,
    pub(super) fault: Fault,
}

/// All switches.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) rules: Vec<Rule>,
    pub(super) refuse: bool,
    pub(super) duplicate: bool,
    pub(super) reorder: bool,
    pub(super) stasis_start_first: bool,
}

impl Faults {
    /// The fault for this request, used up by one.
    pub(super) fn next_for(&mut self, line: &str) -> Option<Fault> {
        let rule = self.rules.iter_mut().find(|rule| rule.times > 0 && line.contains(&rule.text))?;
        rule.times -= 1;
        Some(rule.fault)
    }
}
