//! What is asked: every filter by values that are frequent, rare and absent, by an admin and by sellers of every size; combinations; and
//! pages at the far end.

use capconduit::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};
use capconduit::store::calls::{By, Filter, Position};
use chrono::{DateTime, Duration, Utc};

use crate::data::Data;

/// A request, and where its page begins.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) filter: Filter,
    pub(crate) after: Option<Position>,
}

/// One filter by itself, in words and applied to what is there.
type Part = (&'static str, fn(Filter) -> Filter);

fn now() -> DateTime<Utc> {
    capconduit::clock::Clock::start().now().wall
}

fn days_ago(days: i64) -> DateTime<Utc> {
    now() - Duration::days(days)
}

const PARTS: &[Part] = &[
    ("nothing", |filter| filter),
    ("from, a day", |filter| Filter { from: Some(days_ago(2)), ..filter }),
    ("from and to, an hour long ago", |filter| Filter {
        from: Some(days_ago(100)),
        to: Some(days_ago(100) + Duration::hours(1)),
        ..filter
    }),
    ("to, long ago", |filter| Filter { to: Some(days_ago(170)), ..filter }),
    ("from, in the future", |filter| Filter { from: Some(now() + Duration::days(9)), ..filter }),
    ("did, of the large seller", |filter| Filter { dialled: Some("+442000000013".into()), ..filter }),
    ("did, of the small seller", |filter| Filter { dialled: Some("+442000000005".into()), ..filter }),
    ("did, absent", |filter| Filter { dialled: Some("+15550100".into()), ..filter }),
    ("did_id, of the large seller", |filter| Filter { did: Some(DidId(12)), ..filter }),
    ("did_id, of a middling seller", |filter| Filter { did: Some(DidId(263)), ..filter }),
    ("did_id, of the small seller", |filter| Filter { did: Some(DidId(4)), ..filter }),
    ("caller, frequent", |filter| Filter { caller: Some("+447700900000".into()), ..filter }),
    ("caller, rare", |filter| Filter { caller: Some("+447700123456".into()), ..filter }),
    ("caller, absent", |filter| Filter { caller: Some("+15550100".into()), ..filter }),
    ("seller, large", |filter| Filter { seller: Some(UserId(100_001)), ..filter }),
    ("seller, middling", |filter| Filter { seller: Some(UserId(100_024)), ..filter }),
    ("seller, absent", |filter| Filter { seller: Some(UserId(999_999)), ..filter }),
    ("campaign, of the large seller", |filter| Filter { campaign: Some(CampaignId(4)), ..filter }),
    ("campaign, of a middling seller", |filter| Filter { campaign: Some(CampaignId(80)), ..filter }),
    ("campaign, of the small seller", |filter| Filter { campaign: Some(CampaignId(1)), ..filter }),
    ("client, frequent", |filter| Filter { client: Some(ClientId(0)), ..filter }),
    ("client, middling", |filter| Filter { client: Some(ClientId(29)), ..filter }),
    ("client, uncommon", |filter| Filter { client: Some(ClientId(58)), ..filter }),
    ("client, rare", |filter| Filter { client: Some(ClientId(900)), ..filter }),
    ("client, absent", |filter| Filter { client: Some(ClientId(999)), ..filter }),
    ("link, of the large seller", |filter| Filter { link: Some(LinkId(17)), ..filter }),
    ("link, of a middling seller", |filter| Filter { link: Some(LinkId(322)), ..filter }),
    ("link, of the small seller", |filter| Filter { link: Some(LinkId(5)), ..filter }),
    ("link, absent", |filter| Filter { link: Some(LinkId(9_999)), ..filter }),
    ("ending, frequent", |filter| Filter { ending: Some("completed".into()), ..filter }),
    ("ending, uncommon", |filter| Filter { ending: Some("no_active_link".into()), ..filter }),
    ("ending, rare", |filter| Filter { ending: Some("overloaded".into()), ..filter }),
    ("ending, never", |filter| Filter { ending: Some("inactive_campaign".into()), ..filter }),
    ("answered", |filter| Filter { answered: Some(true), ..filter }),
    ("not answered", |filter| Filter { answered: Some(false), ..filter }),
    ("min_talk, most", |filter| Filter { min_talk_ms: Some(1), ..filter }),
    ("min_talk, a tenth", |filter| Filter { min_talk_ms: Some(200_000), ..filter }),
    ("min_talk, a hundredth", |filter| Filter { min_talk_ms: Some(460_000), ..filter }),
    ("min_talk, a thousandth", |filter| Filter { min_talk_ms: Some(740_000), ..filter }),
    ("min_talk, rare", |filter| Filter { min_talk_ms: Some(1_400_000), ..filter }),
    ("min_talk, never", |filter| Filter { min_talk_ms: Some(86_400_000), ..filter }),
    ("answered by a frequent client, a week", |filter| Filter {
        client: Some(ClientId(0)),
        answered: Some(true),
        from: Some(days_ago(8)),
        ..filter
    }),
    ("a day's completed", |filter| Filter { ending: Some("completed".into()), from: Some(days_ago(2)), ..filter }),
    ("a week long ago, not answered", |filter| Filter {
        from: Some(days_ago(120)),
        to: Some(days_ago(113)),
        answered: Some(false),
        ..filter
    }),
    ("a campaign's uncommon ending", |filter| Filter {
        campaign: Some(CampaignId(4)),
        ending: Some("failed".into()),
        ..filter
    }),
    ("a DID's long talks", |filter| Filter { did: Some(DidId(12)), min_talk_ms: Some(740_000), ..filter }),
    ("a caller at a DID", |filter| Filter { caller: Some("+447700900000".into()), did: Some(DidId(12)), ..filter }),
    ("a client's uncommon ending", |filter| Filter {
        client: Some(ClientId(0)),
        ending: Some("failed".into()),
        ..filter
    }),
    ("a client's long talks", |filter| Filter { client: Some(ClientId(29)), min_talk_ms: Some(740_000), ..filter }),
];

/// Each part as seen by an admin and by each seller; by those who have much to page through, at the far end too.
pub(crate) fn all(data: &Data) -> Vec<Case> {
    let owners = std::iter::once(("admin", None))
        .chain(["large", "middling", "small", "new"].into_iter().zip(data.sellers.map(|id| Some(UserId(id)))));
    let mut cases = Vec::new();
    for (who, owner) in owners {
        for (what, part) in PARTS {
            let filter = part(Filter { owner, ..Filter::default() });
            let far = Position { arrived_at: days_ago(178), call: CallId(uuid::Uuid::max()) };
            cases.push(Case { name: format!("{who}: {what}"), filter: filter.clone(), after: None });
            if matches!(who, "admin" | "large") {
                cases.push(Case { name: format!("{who}: {what} (far end)"), filter, after: Some(far) });
            }
        }
    }
    cases
}

/// Users and paths that are asked over HTTP.
pub(crate) fn over_http() -> Vec<(&'static str, String)> {
    ["/calls", "/calls?answered=true", "/calls?client_id=29", "/calls?ending=failed", "/calls?min_talk_ms=740000"]
        .into_iter()
        .flat_map(|path| ["admin", "large", "small"].map(|who| (who, path.to_owned())))
        .collect()
}

/// Summaries: of everything, and of a large seller's.
pub(crate) fn summaries(data: &Data) -> Vec<(By, Filter)> {
    let large = Filter { owner: Some(UserId(data.sellers[0])), ..Filter::default() };
    let by = |filter: &Filter| By::ALL.iter().map(|by| (*by, filter.clone())).collect::<Vec<_>>();
    [by(&Filter::default()), by(&large)].concat()
}
