//! PURE: a configuration of the size that routing is measured with.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use capconduit::clock::Now;
use capconduit::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};
use capconduit::routing::book::Book;
use capconduit::routing::breaker::{At, Terms};
use capconduit::routing::number::Dialled;
use capconduit::routing::snapshot::{
    CallerId, Campaign, CampaignRejections, Client, CountOn, Did, Link, Snapshot, Status, Strategy,
};

/// Links together.
const LINKS: usize = 10_000;
/// Clients that they lead to.
const CLIENTS: usize = 500;

const TERMS: Terms = Terms { failures: 5, pause: Duration::from_secs(10), pause_max: Duration::from_secs(300) };

/// Campaigns of equally many links each, and the book of their use.
pub(crate) struct World {
    snapshot: Snapshot,
    book: Book,
    dialled: Vec<Dialled>,
    node: Arc<str>,
    calls: u128,
}

impl World {
    /// One whose campaigns have `candidates` links each, all of them eligible.
    pub(crate) fn new(candidates: usize, strategy: Strategy) -> Self {
        let campaigns = LINKS / candidates;
        let link = |campaign: usize, n: usize| Link {
            id: LinkId(id(campaign * candidates + n)),
            client: ClientId(id((campaign + n) % CLIENTS)),
            status: Status::Active,
            withdrawn: false,
            max_concurrency: Some(1_000),
            total_calls_allowed: Some(1_000_000_000),
            counted_before: 0,
            forwarding_priority: i32::try_from(n % 3).expect("small"),
            weight: u32::try_from(1 + n % 7).expect("small"),
            ring_timeout: None,
            count_on: CountOn::Answered,
        };
        let campaign = |n: usize| Campaign {
            id: CampaignId(id(n)),
            name: format!("Campaign {n}"),
            status: Status::Active,
            strategy,
            dial_timeout: Duration::from_secs(20),
            setup_budget: None,
            max_duration: None,
            max_concurrency: Some(10_000),
            early_media: true,
            rejections: CampaignRejections::default(),
            links: (0..candidates).map(|at| link(n, at)).collect(),
        };
        let number = |n: usize| format!("+4420{n:08}");
        let did = |n: usize| Did {
            id: DidId(id(n)),
            raw: false,
            seller: UserId(1),
            seller_name: "Acme Leads".to_owned(),
            status: Status::Active,
            campaign: Some(CampaignId(id(n))),
        };
        let snapshot = Snapshot {
            revision: 7,
            dids: (0..campaigns).map(|n| (number(n), did(n))).collect(),
            campaigns: (0..campaigns).map(|n| (CampaignId(id(n)), Arc::new(campaign(n)))).collect(),
            clients: (0..CLIENTS).map(client).map(|client| (client.id, Arc::new(client))).collect(),
        };
        Self {
            snapshot,
            book: Book::new(HashMap::new(), TERMS),
            dialled: (0..campaigns).map(|n| Dialled { raw: number(n), e164: Some(number(n)) }).collect(),
            node: Arc::from("pbx-1"),
            calls: 0,
        }
    }

    /// One call: decided, and the first candidate's permit taken, as when it arrives.
    pub(crate) fn admit(&mut self) -> CallId {
        self.calls += 1;
        let call = CallId(uuid::Uuid::from_u128(self.calls));
        // A step that has no factor in common with the number of campaigns: no two calls in a row are of one.
        let at = usize::try_from(self.calls * 7_919 % self.dialled.len() as u128).expect("an index");
        let now = Now { mono: Duration::from_secs(1), wall: chrono::DateTime::UNIX_EPOCH };
        let at = (&self.dialled[at], At { node: &self.node, now });
        let (decision, offer) = self.book.admit(&self.snapshot, at.0, at.1, (call, 1));
        assert!(offer.is_some(), "{:?}", decision.candidates);
        call
    }

    /// The call is over.
    pub(crate) fn release(&mut self, call: CallId) {
        self.book.ledger.release((call, 1), true);
    }
}

fn id(n: usize) -> i64 {
    i64::try_from(n + 1).expect("thousands")
}

fn client(n: usize) -> Client {
    Client {
        id: ClientId(id(n)),
        name: format!("Client {n}"),
        identifier: format!("client-{n}").parse().expect("allowed"),
        status: Status::Active,
        max_concurrency: Some(1_000),
        send_headers: false,
        caller_id: CallerId::Pass,
    }
}
