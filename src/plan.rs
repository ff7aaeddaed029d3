//! PURE: the declarative document that `apply` reads and `export` writes, and the plan that leads from the stored state to it.
//!
//! [`Document`] is the form as written; [`Document::check`] turns it into a [`State`] or names every problem at once; [`diff`] compares
//! the stored [`Current`] with it. Objects are known by what people call them (username, identifier, number, seller and name), not by row.

mod change;
mod check;
mod diff;
mod document;
mod export;
mod fields;
mod screen;
mod state;
mod ties;

pub use change::{Action, Change, Kind, Plan, Sign};
pub use check::{is_username, rejection_problem};
pub use diff::{Manner, diff};
pub use document::{CampaignForm, ClientForm, DidForm, Document, DocumentError, LinkForm, RejectionsForm, SellerForm};
pub use screen::{Screening, screen};
pub use state::{
    Access, Campaign, CampaignKey, Client, Current, Did, Link, Seller, State, Stored, StoredCampaign, UserStatus,
};

use std::fmt;

/// Everything that is wrong with a document, one line each: path of the field, the value, what is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
