//! How a scripted endpoint behaves when it is dialled.

use std::time::Duration;

/// What happens after the INVITE, each time counted from the dial.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    pub(super) registered: bool,
    pub(super) rings: Option<Duration>,
    pub(super) early_media: Option<Duration>,
    pub(super) outcome: Outcome,
    pub(super) talks_for: Option<Duration>,
    pub(super) media: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Answer(Duration),
    Fail { after: Duration, cause: i16, sip: i16 },
    Nothing,
}

/// One thing the callee does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Ring,
    Play,
    Answer { talks_for: Option<Duration> },
    Fail { cause: i16, sip: i16 },
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::answers(5)
    }
}

impl Behaviour {
    fn new(rings: bool, outcome: Outcome) -> Self {
        let rings = rings.then_some(Duration::ZERO);
        Self { registered: true, rings, early_media: None, outcome, talks_for: None, media: true }
    }

    /// 180 at once, 200 after so many milliseconds.
    pub fn answers(millis: u64) -> Self {
        Self::new(true, Outcome::Answer(Duration::from_millis(millis)))
    }

    /// 486.
    pub fn busy() -> Self {
        Self::refuses(17, 486)
    }

    /// 503.
    pub fn congestion() -> Self {
        Self::refuses(34, 503)
    }

    /// 404: the client's own switch does not know what we dial.
    pub fn not_found() -> Self {
        Self::refuses(1, 404)
    }

    /// 488: no common codec.
    pub fn not_acceptable() -> Self {
        Self::refuses(58, 488)
    }

    /// 603.
    pub fn declines() -> Self {
        Self::refuses(21, 603)
    }

    /// 302, which is not followed.
    pub fn redirects() -> Self {
        Self::refuses(23, 302)
    }

    /// Any final answer without a provisional one: Q.850 cause and SIP status.
    pub fn refuses(cause: i16, sip: i16) -> Self {
        Self::new(false, Outcome::Fail { after: Duration::from_millis(1), cause, sip })
    }

    /// 180, then a final answer after so many milliseconds.
    pub fn rings_then_refuses(millis: u64, cause: i16, sip: i16) -> Self {
        Self::new(true, Outcome::Fail { after: Duration::from_millis(millis), cause, sip })
    }

    /// 180 and nothing more, until the dial's own timeout.
    pub fn no_answer() -> Self {
        Self::new(true, Outcome::Nothing)
    }

    /// Not even a provisional answer, until the dial's own timeout.
    pub fn silent() -> Self {
        Self::new(false, Outcome::Nothing)
    }

    /// No contact is registered: `create` answers 500 "Allocation failed".
    pub fn unavailable() -> Self {
        Self { registered: false, ..Self::silent() }
    }

    /// 183 with SDP at once, 200 after so many milliseconds.
    pub fn early_media(millis: u64) -> Self {
        let outcome = Outcome::Answer(Duration::from_millis(millis));
        Self { early_media: Some(Duration::ZERO), ..Self::new(false, outcome) }
    }

    /// Its answer carries no media that Asterisk can use.
    pub fn without_media(self) -> Self {
        Self { media: false, ..self }
    }

    /// Hangs up so many milliseconds after it and the caller are both answered and together.
    pub fn hanging_up_after(self, millis: u64) -> Self {
        Self { talks_for: Some(Duration::from_millis(millis)), ..self }
    }

    /// What the callee does and when, counted from the dial, in order. `timeout` zero = the dial never gives up.
    pub(super) fn steps(self, timeout: Duration) -> Vec<(Duration, Step)> {
        let rings = self.rings.map(|after| (after, Step::Ring));
        let plays = self.early_media.map(|after| (after, Step::Play));
        let outcome = match self.outcome {
            Outcome::Answer(after) => Some((after, Step::Answer { talks_for: self.talks_for })),
            Outcome::Fail { after, cause, sip } => Some((after, Step::Fail { cause, sip })),
            Outcome::Nothing => None,
        };
        // A dial that times out looks like a 480.
        let gives_up = (!timeout.is_zero()).then_some((timeout, Step::Fail { cause: 19, sip: 480 }));
        let mut steps: Vec<_> = [rings, plays, outcome, gives_up].into_iter().flatten().collect();
        steps.sort_by_key(|(after, _)| *after);
        steps
    }
}
