//! PURE: what an installation does not allow of a document's clients.

use std::collections::BTreeMap;

use super::Problems;
use super::state::{Client, Current, Seller, State};
use crate::realtime::{Policy, overlaps};
use crate::routing::snapshot::Status;
use crate::text::hidden_problem;

/// What clients' SIP settings are judged by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screening {
    /// What the installation allows.
    pub policy: Policy,
    /// Host names that lead where no client may be, and where.
    pub hosts: BTreeMap<String, String>,
}

/// Judges names that are new or change, and clients that are new or whose SIP settings change: what is stored already is watched
/// elsewhere, or older than the rule, and must not keep a document from being applied. Without `prune` the stored ones that the document does not name are there as well.
///
/// # Errors
/// Everything that is not allowed, by its path.
pub fn screen(current: &Current, wanted: &State, screening: &Screening, prune: bool) -> Result<(), Problems> {
    let stored = |key: &String| {
        let stored = current.clients.get(key).map(|stored| &stored.value);
        stored.filter(|client| client.status != Status::Archived)
    };
    let changes = |key: &String, client: &Client| stored(key).is_none_or(|stored| stored.sip != client.sip);
    let mut problems = hidden_characters(current, wanted);
    for (key, client) in &wanted.clients {
        let mut report = |field: &str, problem: &str| {
            problems.push(format!("clients[{:?}].sip.{field}: {problem}", client.identifier.as_str()));
        };
        let changed = changes(key, client);
        if changed {
            for (field, problem) in screening.policy.problems(&client.sip) {
                report(&field, &problem);
            }
            let moved = stored(key).is_none_or(|stored| stored.sip.host() != client.sip.host());
            let host = client.sip.host().filter(|_| moved).map(ToString::to_string);
            if let Some(problem) = host.and_then(|host| screening.hosts.get(&host)) {
                report("host", problem);
            }
        }
        let unnamed =
            current.clients.iter().filter(|(other_key, _)| !prune && !wanted.clients.contains_key(*other_key));
        let unnamed = unnamed.map(|(other_key, other)| (other_key, &other.value));
        let unnamed = unnamed.filter(|(_, other)| other.status != Status::Archived);
        for (other_key, other) in wanted.clients.iter().chain(unnamed).filter(|(other_key, _)| *other_key != key) {
            if changed || changes(other_key, other) {
                for field in overlaps(&client.sip, &other.sip) {
                    report(&field, &format!("client {:?} is known by, or at, this address", other.identifier.as_str()));
                }
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

/// New names and texts with characters that are not seen.
fn hidden_characters(current: &Current, wanted: &State) -> Vec<String> {
    let mut problems = Vec::new();
    let mut judge = |path: String, new: &str, stored: Option<&str>| {
        if stored != Some(new)
            && let Some(problem) = hidden_problem(new)
        {
            problems.push(format!("{path}: {new:?} is not allowed: {problem}"));
        }
    };
    for (username, Seller { name, .. }) in &wanted.sellers {
        let stored = current.sellers.get(username).map(|stored| stored.value.name.as_str());
        judge(format!("sellers[{username:?}].name"), name, stored);
    }
    for (key, client) in &wanted.clients {
        let stored = current.clients.get(key).map(|stored| &stored.value);
        let path = |field| format!("clients[{:?}].{field}", client.identifier.as_str());
        judge(path("name"), &client.name, stored.map(|stored| stored.name.as_str()));
        if let Some(alias) = &client.mask_name {
            judge(path("mask_name"), alias, stored.and_then(|stored| stored.mask_name.as_deref()));
        }
        if let Some(contact) = &client.contact {
            judge(path("contact"), contact, stored.and_then(|stored| stored.contact.as_deref()));
        }
    }
    for (seller, name) in wanted.campaigns.keys() {
        let known = current.campaigns.contains_key(&(seller.clone(), name.clone()));
        judge(format!("campaigns[{name:?}].name"), name, known.then_some(name.as_str()));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Document, Stored, StoredCampaign};

    const DOCUMENT: &str = "[[sellers]]\nusername = \"ann\"\nname = \"A\u{202e}nn\"\n\
        [[clients]]\nidentifier = \"north\"\nname = \"N\u{200b}orth\"\nmask_name = \"N\u{2060}\"\ncontact = \"Bo\u{feff}\"\n\
        [clients.sip]\nhost = \"203.0.113.7\"\n\
        [[campaigns]]\nseller = \"ann\"\nname = \"S\u{2028}olar\"\nrouting_strategy = \"priority\"\n";

    #[test]
    fn hidden_characters_are_refused_in_what_is_new_and_stay_in_what_is_stored() {
        let wanted = Document::parse(DOCUMENT).expect("a document").check().expect("its form is sound");
        let screening = Screening::default();
        let Problems(told) = screen(&Current::default(), &wanted, &screening, false).expect_err("all is new");
        for (path, number) in [
            ("sellers[\"ann\"].name", "U+202E"),
            ("clients[\"north\"].name", "U+200B"),
            ("clients[\"north\"].mask_name", "U+2060"),
            ("clients[\"north\"].contact", "U+FEFF"),
            ("campaigns[\"S\\u{2028}olar\"].name", "U+2028"),
        ] {
            assert!(told.iter().any(|line| line.starts_with(path) && line.contains(number)), "{path}: {told:#?}");
        }
        assert_eq!(told.len(), 5, "{told:#?}");
        let mut current = Current::default();
        for (username, seller) in &wanted.sellers {
            current.sellers.insert(username.clone(), stored(seller.clone()));
        }
        for (key, client) in &wanted.clients {
            current.clients.insert(key.clone(), stored(client.clone()));
        }
        for (key, (campaign, _)) in &wanted.campaigns {
            let links = BTreeMap::new();
            current.campaigns.insert(key.clone(), StoredCampaign { campaign: stored(campaign.clone()), links });
        }
        screen(&current, &wanted, &screening, false).expect("nothing of it is new");
    }

    fn stored<T>(value: T) -> Stored<T> {
        Stored { id: 1, referenced: false, value }
    }
}
