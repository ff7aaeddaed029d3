//! The store on real SQLite files and a real PostgreSQL: every test runs on both.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test helper fails its test by panicking, and figures are printed"
)]

mod applying;
mod calls;
mod connecting;
mod editing;
mod exporting;
#[path = "../support/held.rs"]
mod held;
mod helpers;
mod journal;
mod large;
mod layouts;
mod listening;
mod migrating;
#[path = "../support/patience.rs"]
mod patience;
mod plans;
#[path = "../support/postgres.rs"]
mod postgres;
mod publishing;
mod recording;
mod reporting;
mod resetting;
mod retention;
mod servers;
mod sessions;
mod summing;
#[path = "../support/templates.rs"]
mod templates;

/// What `documents` is made of.
mod forms {
    pub(super) use capconduit::plan::{
        CampaignForm, ClientForm, DidForm, Document, LinkForm, RejectionsForm, SellerForm,
    };
    pub(super) use capconduit::realtime::{Password, RegistrationForm, SipForm};
}
#[path = "../support/documents.rs"]
mod documents;
