//! What each end hears, packet by packet, with a user agent whose every step is said here: one stream for each end, from the first
//! packet on; the call centre's first word; ringing where nobody speaks yet; and no talk where the call centre has no audio.

mod first_word;
mod queued;
mod ringing;
mod streams;
mod unusable;

use std::time::Duration;

use crate::harness::plan::Plan;
use crate::harness::sipp::{CARRIER_IP, CENTRE_IP};
use crate::harness::site::{Backend, Preparation, Site};
use crate::harness::ua::caller::Caller;
use crate::harness::ua::centre::Centre;
use crate::harness::ua::continuity::{judge, of};
use crate::harness::ua::media::Media;
use crate::harness::ua::sdp;
use crate::harness::until;

/// So long both talk: a few dozen packets each.
const TALK: Duration = Duration::from_millis(500);
/// What a phone that is answered has to collect before it can send its first packet.
const FIRST_PACKET: Duration = Duration::from_millis(20);
/// The caller's name in its packets; call centres have the numbers above.
const CALLER: u16 = 1;

/// A site with some campaigns, each with as many call centres, which are tried in turn.
struct Scene {
    site: Site,
    /// Those of each campaign.
    centres: Vec<Vec<Centre>>,
}

fn did(campaign: usize) -> String {
    format!("+4420794603{campaign:02}")
}

fn client(campaign: usize, n: usize) -> String {
    format!("c{campaign}-{n}")
}

impl Scene {
    /// One call centre for each of so many campaigns.
    async fn of(campaigns: usize) -> Self {
        Self::with(campaigns, 1, "").await
    }

    /// `first` are the lines of the first link of each campaign.
    async fn with(campaigns: usize, centres: usize, first: &str) -> Self {
        Self::built((campaigns, centres), first, "").await
    }

    /// `sip` are the SIP settings of each client besides its address.
    async fn built((campaigns, centres): (usize, usize), first: &str, sip: &str) -> Self {
        let site = Preparation::new(Backend::Sqlite).configured("", "progress_timeout_ms = 3000");
        let mut sender = CALLER;
        let mut open = || {
            sender += 1;
            Centre::open(CENTRE_IP, site.ports().one(), Media::open(CENTRE_IP, site.ports().run(2), sender))
        };
        let all: Vec<Vec<Centre>> = (0..campaigns).map(|_| (0..centres).map(|_| open()).collect()).collect();
        let mut plan = Plan::new();
        for (campaign, centres) in all.iter().enumerate() {
            for (n, centre) in centres.iter().enumerate() {
                plan = plan.client_at(&client(campaign, n), (centre.ip, centre.port), ("", sip));
            }
        }
        for (campaign, centres) in all.iter().enumerate() {
            plan = plan.campaign(&format!("Solar {campaign}"), &did(campaign), "dial_timeout_seconds = 15");
            for n in 0..centres.len() {
                let more = if n == 0 { first } else { "" };
                plan = plan.link(&client(campaign, n), &format!("forwarding_priority = {}\n{more}", n + 1));
            }
        }
        Self { site: site.start(&plan).await, centres: all }
    }

    /// Calls a campaign's DID and offers audio.
    fn call(&self, campaign: usize) -> Caller {
        self.call_offering(campaign, sdp::audio)
    }

    fn call_offering(&self, campaign: usize, offer: fn(std::net::SocketAddr) -> String) -> Caller {
        let ports = &self.site.ports;
        let media = Media::open(CARRIER_IP, ports.run(4), CALLER);
        let offer = offer(media.address());
        let caller = Caller::call(&did(campaign), &self.site.nodes[0].sip, (CARRIER_IP, ports.one()), media, &offer);
        self.site.called(&caller.call_id);
        caller
    }

    /// The only call centre of a campaign.
    fn centre(&mut self, campaign: usize) -> &mut Centre {
        &mut self.centres[campaign][0]
    }

    /// `client outcome` of every attempt of a call.
    async fn attempts(&self, caller: &Caller) -> Vec<String> {
        self.site.record_of(&caller.call_id).await.attempts()
    }
}

/// What an end received is one stream: no other source, and no other counting, from its first packet on.
fn assert_one_stream(who: &str, media: &Media) {
    let packets = media.received();
    let faults = judge(&packets).faults(&packets);
    assert!(!packets.is_empty(), "{who} hears nothing");
    assert!(faults.is_empty(), "what {who} hears is not one stream:\n{}", faults.join("\n"));
}

/// Waits until both hear each other, from now on.
async fn until_both_hear(caller: &Media, centre: &Media) {
    let (sender, before) = (centre.sender(), [caller, centre].map(|media| media.received().len()));
    until("the caller hears the call centre", || of(&caller.received()[before[0]..], sender).next().is_some()).await;
    until("the call centre hears the caller", || of(&centre.received()[before[1]..], CALLER).next().is_some()).await;
}

/// The caller is answered and speaks, until each has heard the other; then it hangs up. What it has heard is one stream.
async fn talk_and_part(caller: &mut Caller, centre: &mut Centre) {
    let (to, _at) = caller.answered().await;
    caller.media.say(to);
    until_both_hear(&caller.media, &centre.media).await;
    caller.hang_up().await;
    centre.ended().await;
    centre.media.hush();
    assert_one_stream("the caller", &caller.media);
}
