//! Totals while another controller has a node: what it counts is known here by the database only.

use std::time::Duration;

use super::Routing;
use crate::calls::dispatcher::NodeStanding;
use crate::store;

/// How often the totals of every link are read, at most; the configuration's revision, which is one row, is looked at more often.
const READ_EVERY: Duration = Duration::from_millis(500);
/// How long the other's last records may take to be written once it has left.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);
/// How long nothing must have counted here until what was counted for safety is forgotten: the other's records are written by then.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// What is known of another controller's counting.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Monotonic time until which the database is followed.
    until: Option<Duration>,
    /// When (monotonic) it was read last.
    read: Option<Duration>,
    /// Since when (monotonic) nothing is under way here, and how many calls were counted then.
    idle: Option<(Duration, u64)>,
}

impl Elsewhere {
    /// Takes over what was written since the last time.
    pub(super) async fn follow(&mut self, routing: &Routing) -> anyhow::Result<()> {
        let Routing { db, registry, nodes, journal, clock, .. } = routing;
        let now = clock.now().mono;
        if nodes.borrow().iter().any(|node| node.standing == NodeStanding::Taken) {
            self.until = Some(now + WRITTEN_WITHIN);
        }
        if self.until.is_none_or(|until| now > until) {
            return Ok(());
        }
        if self.read.is_some_and(|read| now < read + READ_EVERY) {
            return Ok(());
        }
        // A call's permits go before its record is in the journal: both must be done with.
        let idle = if registry.live() == 0 { registry.book().ledger.idle() } else { None };
        let before = self.idle.take();
        self.idle = idle.map(|counts| match before {
            Some((since, same)) if same == counts => (since, counts),
            _ => (now, counts),
        });
        // The journal first: what comes to the database in between is counted twice for a moment, and not left out.
        let waiting = journal.counted().await;
        let mut totals = store::snapshot::totals(db).await?;
        self.read = Some(now);
        registry.raise_totals(&totals.iter().map(|(link, counted)| (*link, *counted)).collect::<Vec<_>>());
        if let Some((since, counts)) = self.idle
            && now >= since + SETTLED_AFTER
        {
            waiting.into_iter().for_each(|(link, counted)| *totals.entry(link).or_default() += counted);
            registry.settle_totals(&totals.into_iter().collect::<Vec<_>>(), counts);
            // What was settled stands as long as before until it is looked at again.
            self.idle = None;
        }
        Ok(())
    }
}
