//! Closed sets of words, as the OpenAPI document lists them.

use poem_openapi::Enum;

use crate::auth::roles;
use crate::plan;
use crate::routing::snapshot;
use crate::store::clients;

/// What a user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase", remote = "roles::Role")]
pub(super) enum Role {
    /// Everything.
    Admin,
    /// Clients, DIDs and all calls.
    Staff,
    /// The own DIDs, campaigns, links and calls.
    Seller,
}

/// What an API token may do, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase", remote = "roles::Scope")]
pub(super) enum Scope {
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// Whether a user may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase", remote = "plan::UserStatus")]
pub(super) enum UserStatus {
    /// It may.
    Active,
    /// It may not.
    Disabled,
}

/// Life of a client, DID, campaign or link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "snapshot::Status")]
pub(super) enum Life {
    /// Takes new calls.
    Active,
    /// Takes no new calls; running ones go on.
    Paused,
    /// Read-only and hidden; records refer to it.
    Archived,
}

/// Which sellers may link a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "clients::Access")]
pub(super) enum ClientAccess {
    /// All.
    All,
    /// Those named by `clients/{id}/sellers`.
    Selected,
}

/// How a campaign's eligible links are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "snapshot::Strategy")]
pub(super) enum RoutingStrategy {
    /// The lowest `forwarding_priority` first; equal ones share by `weight`.
    Priority,
    /// Each in turn.
    RoundRobin,
    /// Shares in proportion to `weight`.
    Weighted,
}

/// What counts against a link's `total_calls_allowed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "snapshot::CountOn")]
pub(super) enum Counting {
    /// Calls that the client answered while the caller was there.
    Answered,
    /// Every attempt that was dialled.
    Attempted,
}
