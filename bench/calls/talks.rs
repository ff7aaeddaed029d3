//! A block of calls with audio both ways, and what each end heard.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::contest::{Contest, Contestant};
use super::sip::audio::{Audio, Heard, Side};
use super::sip::caller::{Begins, Call, Series, Speech, call};
use super::site::{self, RUNG, SOUNDED};
use crate::harness::site::Site;
use crate::harness::ua::continuity::{judge, of};

/// How a call centre comes to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It rings; nobody is heard before the answer.
    Rung,
    /// It is heard before it answers; the caller is silent.
    Sounded,
}

impl Flow {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rung => "after ringing",
            Self::Sounded => "after early media",
        }
    }

    fn did(self) -> &'static str {
        match self {
            Self::Rung => RUNG,
            Self::Sounded => SOUNDED,
        }
    }
}

/// What is to be called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// How the calls are answered.
    pub(crate) flow: Flow,
    /// How many.
    pub(crate) calls: u16,
    /// How many in a second.
    pub(crate) per_second: f64,
    /// How long each talks.
    pub(crate) talk: Duration,
    /// When callers begin to talk.
    pub(crate) begins: &'static [Begins],
    /// How often what came is looked at: so exact are times.
    pub(crate) look: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Talks {
    /// Each call.
    pub(crate) calls: Vec<Call>,
    /// Each end of those that got through.
    pub(crate) heard: Vec<Heard>,
}

impl Talks {
    /// How many were answered.
    pub(crate) fn answered(&self) -> usize {
        self.calls.iter().filter(|call| call.set_up().is_some()).count()
    }

    /// How continuous was what one side heard.
    pub(crate) fn continuity(&self, side: Side) -> Continuity {
        let mut all = Continuity::default();
        for end in self.heard.iter().filter(|end| end.side == side && !end.packets.is_empty()) {
            let stream = judge(&end.packets);
            let changes = stream.ssrc_changes();
            all.ends += 1;
            all.changed += usize::from(changes > 0);
            all.jumps += stream.breaks.len() - changes;
            all.packets += stream.packets;
            let other = self.heard.iter().find(|other| other.talk == end.talk && other.side != side);
            all.lost += other.map_or(0, |other| missing(end, other.sender));
        }
        all
    }
}

/// Numbers that are missing between the first and the last that were heard.
fn missing(end: &Heard, sender: u16) -> usize {
    let mut numbers: Vec<u32> = of(&end.packets, sender).map(|(_, n)| n).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let span = numbers.first().zip(numbers.last()).map_or(0, |(first, last)| last - first + 1);
    (span as usize).saturating_sub(numbers.len())
}

/// What one side of many talks heard.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Continuity {
    /// How many heard anything.
    pub(crate) ends: usize,
    /// Of these, whose SSRC changed after the first packet.
    pub(crate) changed: usize,
    /// Jumps of sequence or timestamp within an SSRC.
    pub(crate) jumps: usize,
    /// Packets.
    pub(crate) packets: usize,
    /// Packets of the other side's that are missing, after the first one that was heard.
    pub(crate) lost: usize,
}

impl Continuity {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            ends: self.ends + other.ends,
            changed: self.changed + other.changed,
            jumps: self.jumps + other.jumps,
            packets: self.packets + other.packets,
            lost: self.lost + other.lost,
        }
    }

    /// `0 of 300`.
    pub(crate) fn changes(self) -> String {
        format!("{} of {}", self.changed, self.ends)
    }
}

/// Has a contestant take a block of calls with audio, does something `meanwhile`, and leaves Asterisk time to come to rest.
pub(crate) async fn talks<T>(
    contest: &mut Contest,
    who: &Contestant,
    wanted: Wanted,
    meanwhile: impl AsyncFnOnce(&mut Site) -> T,
) -> (Talks, T) {
    let Wanted { flow, calls, per_second, talk, begins, look } = wanted;
    let audio = Audio::open(calls, look);
    let centre = match flow {
        Flow::Rung => &contest.centres.rings,
        Flow::Sounded => &contest.centres.sounds,
    };
    centre.give(Some(audio.voice()));
    let site = &mut contest.sites[who.site];
    let from = SocketAddr::new(who.way.carrier().parse().expect("an address"), 0);
    let speech = Some(Speech { voice: audio.voice(), begins });
    let (to, did, calls) = (site::sip(site), flow.did(), usize::from(calls));
    let series = Series { from, to, did, calls, per_second, talk, speech };
    let (calls, result) = tokio::join!(call(series), meanwhile(&mut *site));
    sleep(Duration::from_millis(500)).await;
    site::until_idle(site).await;
    centre.give(None);
    drop(centre.take());
    let talks = Talks { calls, heard: audio.close() };
    let failed = talks.calls.iter().filter(|call| call.set_up().is_none());
    let mut statuses = BTreeMap::new();
    failed.for_each(|call| *statuses.entry(call.status).or_insert(0) += 1);
    if !statuses.is_empty() {
        println!("bench:   {}: not answered, by their final status: {statuses:?}", who.name);
    }
    (talks, result)
}
