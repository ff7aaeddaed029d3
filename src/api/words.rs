//! Closed sets of words, as the OpenAPI document lists them.

use poem_openapi::Enum;

use crate::auth::roles;
use crate::plan;

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
