//! PURE: what an installation does not allow of a document's clients.

use std::collections::BTreeMap;

use super::Problems;
use super::state::{Client, Current, State};
use crate::realtime::{Policy, overlaps};
use crate::routing::snapshot::Status;

/// What clients' SIP settings are judged by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screening {
    /// What the installation allows.
    pub policy: Policy,
    /// Host names that lead where no client may be, and where.
    pub hosts: BTreeMap<String, String>,
}

/// Judges clients that are new or whose SIP settings change: what is stored already is watched elsewhere, and must not keep a document
/// from being applied. Without `prune` the stored ones that the document does not name are there as well.
///
/// # Errors
/// Everything that is not allowed, by its path.
pub fn screen(current: &Current, wanted: &State, screening: &Screening, prune: bool) -> Result<(), Problems> {
    let stored = |key: &String| {
        let stored = current.clients.get(key).map(|stored| &stored.value);
        stored.filter(|client| client.status != Status::Archived)
    };
    let changes = |key: &String, client: &Client| stored(key).is_none_or(|stored| stored.sip != client.sip);
    let mut problems = Vec::new();
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
