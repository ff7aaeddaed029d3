//! A block of calls with audio both ways, and what each end heard.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::contest::{Contest, Contestant};
use super::sip::audio::{Audio, Heard, Side, Voice};
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
    /// How many, of each party.
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

/// One of those that take a block of calls at the same time, each on a site of its own.
#[derive(Debug, Clone)]
pub(crate) struct Party {
    /// Who.
    pub(crate) who: Contestant,
    /// How its calls are answered.
    pub(crate) flow: Flow,
}

/// Has each party take a block of calls with audio at the same time, does something `meanwhile` with their sites, and leaves them time
/// to come to rest.
pub(crate) async fn talks<T, const N: usize>(
    contest: &mut Contest,
    parties: [&Party; N],
    wanted: Wanted,
    meanwhile: impl AsyncFnOnce(&mut [&mut Site; N]) -> T,
) -> ([Talks; N], T) {
    let audio = Audio::open(wanted.calls * N as u16, wanted.look);
    let centres = [&contest.centres.rings, &contest.centres.sounds];
    centres.iter().for_each(|centre| centre.give(Some(audio.voice())));
    let places = parties.map(|party| party.who.site);
    let mut sites = contest.sites.get_disjoint_mut(places).expect("each on a site of its own");
    let series = (0..N).map(|n| call(wanted.series(parties[n], site::sip(sites[n]), audio.voice(), n)));
    let (calls, result) = tokio::join!(join_all(series.collect::<Vec<_>>()), meanwhile(&mut sites));
    sleep(Duration::from_millis(500)).await;
    for site in &mut sites {
        site::until_idle(site).await;
    }
    for centre in centres {
        centre.give(None);
        drop(centre.take());
    }
    let mut heard = audio.close();
    let talks = calls.into_iter().zip(parties).map(|(calls, party)| {
        tell_failures(&party.who, &calls);
        let own: BTreeSet<&str> = calls.iter().map(|call| call.number.as_str()).collect();
        let (mine, rest) = std::mem::take(&mut heard).into_iter().partition(|end| own.contains(end.talk.as_str()));
        heard = rest;
        Talks { calls, heard: mine }
    });
    let talks: Vec<_> = talks.collect();
    (talks.try_into().expect("one for each party"), result)
}

impl Wanted {
    /// The calls of party n.
    fn series(&self, party: &Party, to: SocketAddr, voice: Voice, n: usize) -> Series {
        let Self { calls, per_second, talk, begins, .. } = *self;
        let (calls, did) = (usize::from(calls), party.flow.did());
        let from = SocketAddr::new(party.who.way.carrier().parse().expect("an address"), 0);
        Series { from, to, did, calls, per_second, talk, speech: Some(Speech { voice, begins }), first: n * calls }
    }
}

fn tell_failures(who: &Contestant, calls: &[Call]) {
    let mut statuses = BTreeMap::new();
    let failed = calls.iter().filter(|call| call.set_up().is_none());
    failed.for_each(|call| *statuses.entry(call.status).or_insert(0) += 1);
    if !statuses.is_empty() {
        println!("bench:   {}: not answered, by their final status: {statuses:?}", who.name);
    }
}
