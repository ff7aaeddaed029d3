//! PURE: from stored objects back to the form.

use super::document::{CampaignForm, ClientForm, DidForm, Document, LinkForm, RejectionsForm, SellerForm};
use super::state::{Access, Campaign, Client, Current, Link, StoredCampaign, UserStatus};
use crate::realtime::SipForm;
use crate::routing::snapshot::{CampaignRejections, CountOn, Status};

impl From<&Current> for Document {
    /// Everything that is not archived, sorted by name, defaults left out. Reading it back and applying it changes nothing; where nothing
    /// is stored it makes the same, once the files that it names hold the passwords.
    fn from(current: &Current) -> Self {
        let lives = |status: Status| status != Status::Archived;
        Self {
            sellers: current
                .sellers
                .iter()
                .filter(|(username, _)| current.seller_lives(username))
                .map(|(username, seller)| SellerForm {
                    username: username.clone(),
                    name: seller.value.name.clone(),
                    status: (seller.value.status != UserStatus::Active).then(|| seller.value.status.to_string()),
                    legacy_id: seller.value.legacy_id.clone(),
                })
                .collect(),
            clients: current
                .clients
                .values()
                .map(|stored| &stored.value)
                .filter(|client| lives(client.status))
                .map(client)
                .collect(),
            dids: current
                .dids
                .iter()
                .filter(|(_, did)| lives(did.value.status))
                .map(|(number, did)| DidForm {
                    number: number.clone(),
                    raw: did.value.raw.then_some(true),
                    seller: did.value.seller.clone(),
                    status: unless_active(did.value.status),
                    legacy_id: did.value.legacy_id.clone(),
                })
                .collect(),
            campaigns: current
                .campaigns
                .iter()
                .filter(|(_, stored)| lives(stored.campaign.value.status))
                .map(|((seller, name), stored)| CampaignForm {
                    links: links(current, stored),
                    ..campaign(seller, name, &stored.campaign.value)
                })
                .collect(),
        }
    }
}

fn unless_active(status: Status) -> Option<String> {
    (status != Status::Active).then(|| status.to_string())
}

fn client(client: &Client) -> ClientForm {
    let access = client.access.unwrap_or(Access::All);
    let sellers: Vec<String> = client.sellers.iter().flatten().cloned().collect();
    ClientForm {
        identifier: client.identifier.to_string(),
        name: client.name.clone(),
        status: unless_active(client.status),
        max_concurrency: client.max_concurrency.map(i64::from),
        send_headers: client.send_headers.then_some(true),
        access: Some(access.to_string()),
        sellers: (!sellers.is_empty()).then_some(sellers),
        mask_name: client.mask_name.clone(),
        contact: client.contact.clone(),
        time_zone: client.time_zone.clone(),
        sip: sip(client),
    }
}

/// With a file named for each password, to be filled in where they are not stored.
fn sip(client: &Client) -> SipForm {
    let mut form = SipForm::from(&client.sip);
    let file = |of: &str| Some(format!("{}.{of}.password", client.identifier));
    if let Some(registration) = &mut form.registration {
        registration.password_file = file("registration");
    }
    if let Some(auth) = &mut form.outbound_auth {
        auth.password_file = file("outbound_auth");
    }
    form
}

fn campaign(seller: &str, name: &str, campaign: &Campaign) -> CampaignForm {
    CampaignForm {
        name: name.to_owned(),
        seller: seller.to_owned(),
        routing_strategy: campaign.strategy.to_string(),
        dial_timeout_seconds: Some(i64::from(campaign.dial_timeout_seconds)),
        setup_budget_seconds: campaign.setup_budget_seconds.map(i64::from),
        max_duration_seconds: campaign.max_duration_seconds.map(i64::from),
        max_concurrency: campaign.max_concurrency.map(i64::from),
        status: unless_active(campaign.status),
        legacy_id: campaign.legacy_id.clone(),
        dids: campaign.dids.iter().cloned().collect(),
        early_media: (!campaign.early_media).then_some(false),
        rejections: rejections(&campaign.rejections),
        links: Vec::new(),
    }
}

fn rejections(rejections: &CampaignRejections) -> Option<RejectionsForm> {
    let form = RejectionsForm {
        inactive_campaign: rejections.inactive_campaign.map(i64::from),
        no_active_link: rejections.no_active_link.map(i64::from),
        all_full: rejections.all_full.map(i64::from),
        nobody_answered: rejections.nobody_answered.map(i64::from),
    };
    (*rejections != CampaignRejections::default()).then_some(form)
}

fn links(current: &Current, stored: &StoredCampaign) -> Vec<LinkForm> {
    let lives = |key: &str, link: &Link| link.status != Status::Archived && current.client_lives(key);
    let alive = stored.links.iter().filter(|(key, link)| lives(key, &link.value));
    let identifier = |key: &String| {
        current.clients.get(key).map_or_else(|| key.clone(), |client| client.value.identifier.to_string())
    };
    alive.map(|(key, stored)| link(identifier(key), &stored.value)).collect()
}

fn link(client: String, link: &Link) -> LinkForm {
    LinkForm {
        client,
        max_concurrency: link.max_concurrency.map(i64::from),
        total_calls_allowed: link.total_calls_allowed.map(|total| i64::try_from(total).unwrap_or(i64::MAX)),
        forwarding_priority: (link.forwarding_priority != 1).then_some(i64::from(link.forwarding_priority)),
        weight: (link.weight != 1).then_some(i64::from(link.weight)),
        ring_timeout_seconds: link.ring_timeout_seconds.map(i64::from),
        count_on: (link.count_on != CountOn::Answered).then(|| link.count_on.to_string()),
        status: unless_active(link.status),
        legacy_id: link.legacy_id.clone(),
    }
}
