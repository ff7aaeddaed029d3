//! Random documents that pass the check, for property tests. Whoever includes this has a module `forms` beside it with the form types.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::forms::{
    CampaignForm, ClientForm, DidForm, Document, LinkForm, Password, RegistrationForm, RejectionsForm, SellerForm,
    SipForm,
};

/// Whole documents over a small world of names, so that two of them share many objects.
pub(crate) fn document() -> impl Strategy<Value = Document> {
    (
        vec(option::of((name(), option::of(Just("disabled")))), 3),
        vec(option::of(client()), 4),
        vec(option::of((0_usize..3, status())), 5),
        vec(option::of(campaign()), 4),
    )
        .prop_map(|(sellers, clients, dids, campaigns)| assemble(sellers, clients, dids, campaigns))
}

const SELLERS: [&str; 3] = ["ann", "bob.b", "c-3"];
const CLIENTS: [&str; 4] = ["north", "South-2", "E_3", "w"];
const DIDS: [&str; 5] = ["+442071234567", "+4420", "1800FLOWERS", "\"';--", "2071234567"];

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9äß→\"'\\\\#=\\[\\]]{1,6}( [a-z]{1,3})?"
}

fn status() -> impl Strategy<Value = Option<String>> {
    option::of(prop_oneof![Just("active".to_owned()), Just("paused".to_owned())])
}

fn cap() -> impl Strategy<Value = Option<i64>> {
    option::of(prop_oneof![Just(0), Just(i64::from(u32::MAX)), 1_i64..50])
}

fn sip() -> impl Strategy<Value = SipForm> {
    let reach = prop_oneof![
        (
            "203\\.0\\.113\\.[1-9]|2001:db8::[1-9]|sip[0-9]\\.example",
            option::of(1_i64..65_536),
            option::of("udp|tcp|tls")
        )
            .prop_map(|(host, port, transport)| SipForm {
                host: Some(host),
                port,
                transport,
                ..SipForm::default()
            }),
        // The password follows from the username, so that documents agree on it.
        "[a-z]{1,3}".prop_map(|username| {
            let password = Some(Password::new(format!("pw-{username}")));
            let registration = Some(RegistrationForm { username, password, password_file: None });
            SipForm { registration, ..SipForm::default() }
        }),
    ];
    let codecs = option::of(Just(["opus", "alaw"].map(str::to_owned).to_vec()));
    (reach, codecs, any::<Option<bool>>(), option::of("inband|info|auto|rfc4733"))
        .prop_map(|(reach, codecs, direct_media, dtmf_mode)| SipForm { codecs, direct_media, dtmf_mode, ..reach })
}

fn client() -> impl Strategy<Value = ClientForm> {
    // All is said: what is not would be kept of an earlier document.
    let private = (
        "all|selected",
        vec(any::<bool>(), SELLERS.len()),
        prop_oneof![Just(String::new()), name()],
        "|Bo, \\+44 20",
        "|Europe/London",
    );
    (name(), status(), cap(), any::<Option<bool>>(), sip(), private).prop_map(
        |(name, status, max_concurrency, send_headers, sip, (access, named, mask_name, contact, time_zone))| {
            ClientForm {
                identifier: String::new(),
                name,
                status,
                max_concurrency,
                send_headers,
                access: Some(access),
                sellers: Some(
                    SELLERS.iter().zip(named).filter(|(_, named)| *named).map(|(name, _)| (*name).into()).collect(),
                ),
                mask_name: Some(mask_name),
                contact: Some(contact),
                time_zone: Some(time_zone),
                sip,
            }
        },
    )
}

fn link() -> impl Strategy<Value = LinkForm> {
    (
        cap(),
        cap(),
        option::of(any::<i32>()),
        option::of(1_i64..=10_000),
        option::of(1_i64..=600),
        option::of("answered|attempted"),
        status(),
    )
        .prop_map(
            |(max_concurrency, total_calls_allowed, priority, weight, ring_timeout_seconds, count_on, status)| {
                LinkForm {
                    client: String::new(),
                    max_concurrency,
                    total_calls_allowed,
                    forwarding_priority: priority.map(i64::from),
                    weight,
                    ring_timeout_seconds,
                    count_on,
                    status,
                    legacy_id: None,
                }
            },
        )
}

fn rejections() -> impl Strategy<Value = RejectionsForm> {
    let code = || option::of(prop_oneof![Just(403_i64), Just(486), Just(503)]);
    (code(), code(), code(), code()).prop_map(|(inactive_campaign, no_active_link, all_full, nobody_answered)| {
        RejectionsForm { inactive_campaign, no_active_link, all_full, nobody_answered }
    })
}

/// Seller by number, values, which of the DIDs it asks for, and a link or none for each client.
type Campaign = (usize, CampaignForm, Vec<bool>, Vec<Option<LinkForm>>);

fn campaign() -> impl Strategy<Value = Campaign> {
    let form = (
        "priority|round_robin|weighted",
        option::of(1_i64..=600),
        option::of(1_i64..=3600),
        option::of(1_i64..=86_400),
        (cap(), any::<Option<bool>>(), option::of(rejections())),
        status(),
    )
        .prop_map(
            |(routing_strategy, dial, budget, duration, (max_concurrency, early_media, rejections), status)| {
                CampaignForm {
                    name: String::new(),
                    seller: String::new(),
                    routing_strategy,
                    dial_timeout_seconds: dial,
                    setup_budget_seconds: budget,
                    max_duration_seconds: duration,
                    max_concurrency,
                    early_media,
                    rejections,
                    status,
                    legacy_id: None,
                    dids: Vec::new(),
                    links: Vec::new(),
                }
            },
        );
    (0_usize..3, form, vec(any::<bool>(), DIDS.len()), vec(option::of(link()), CLIENTS.len()))
}

/// Gives everything its name and drops references to what is not there.
fn assemble(
    sellers: Vec<Option<(String, Option<&str>)>>,
    clients: Vec<Option<ClientForm>>,
    dids: Vec<Option<(usize, Option<String>)>>,
    campaigns: Vec<Option<Campaign>>,
) -> Document {
    let has_seller = |n: usize| sellers[n].is_some();
    let mut fed = vec![false; DIDS.len()];
    let mut document = Document::default();
    for (n, (seller, form, wishes, links)) in campaigns.into_iter().enumerate().filter_map(|(n, one)| Some((n, one?))) {
        if !has_seller(seller) {
            continue;
        }
        let active = form.status.as_deref() != Some("paused");
        let mut campaign = CampaignForm { name: format!("campaign {}", n / 2), seller: SELLERS[seller].into(), ..form };
        if document.campaigns.iter().any(|other| other.seller == campaign.seller && other.name == campaign.name) {
            continue;
        }
        for (did, _) in wishes.iter().enumerate().filter(|(_, wish)| **wish) {
            if dids[did].as_ref().is_some_and(|(owner, _)| *owner == seller) && !(active && fed[did]) {
                fed[did] |= active;
                campaign.dids.push(DIDS[did].into());
            }
        }
        for (client, link) in links.into_iter().enumerate().filter(|(client, _)| clients[*client].is_some()) {
            campaign.links.extend(link.map(|link| LinkForm { client: CLIENTS[client].into(), ..link }));
        }
        document.campaigns.push(campaign);
    }
    for (n, did) in dids.into_iter().enumerate() {
        let did = did.filter(|(owner, _)| has_seller(*owner));
        document.dids.extend(did.map(|(owner, status)| DidForm {
            number: DIDS[n].into(),
            raw: (n > 0).then_some(true),
            seller: SELLERS[owner].into(),
            status,
            legacy_id: None,
        }));
    }
    for (n, client) in clients.into_iter().enumerate() {
        document.clients.extend(client.map(|client| {
            let known = |username: &String| {
                SELLERS.iter().zip(&sellers).any(|(name, seller)| name == username && seller.is_some())
            };
            let named = client.sellers.iter().flatten().filter(|username| known(username)).cloned().collect();
            ClientForm { identifier: CLIENTS[n].into(), sellers: Some(named), ..client }
        }));
    }
    for (n, seller) in sellers.into_iter().enumerate() {
        document.sellers.extend(seller.map(|(name, status)| SellerForm {
            username: SELLERS[n].into(),
            name,
            // A disabled seller without anything is the same as one that is gone.
            status: status.filter(|_| document.dids.iter().any(|did| did.seller == SELLERS[n])).map(str::to_owned),
            legacy_id: None,
        }));
    }
    document
}
