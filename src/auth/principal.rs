//! PURE: who calls, and who is named in the audit.

use std::net::IpAddr;

use uuid::Uuid;

use super::roles::{Operation, Reach, Role, Scope, reach};
use crate::id::UserId;

/// Who sent a request, as the database says at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub user: UserId,
    /// Lower case.
    pub username: String,
    /// For people.
    pub name: String,
    /// Current role, not the one at log-in.
    pub role: Role,
    /// What the request was authenticated by.
    pub credential: Credential,
    /// Somebody else has set the password, and it was not changed since.
    pub must_change_password: bool,
    /// Address of the client (behind trusted proxies: as they say).
    pub address: Option<IpAddr>,
}

/// What a request was authenticated by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// An access token of this session.
    Session(Uuid),
    /// An API token.
    Token {
        /// Row of `api_tokens`.
        id: i64,
        /// What it may do at most.
        scope: Scope,
    },
}

/// Why an operation is refused to a principal, whatever the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its role may not.
    Role,
    /// No API token may.
    Token,
    /// The API token may only read.
    Scope,
    /// The password must be changed first.
    PasswordChange,
}

impl Principal {
    /// On whose objects it may carry out `operation`.
    ///
    /// # Errors
    /// Why it may not at all.
    pub fn may(&self, operation: Operation) -> Result<Reach, Refusal> {
        if self.must_change_password && !operation.before_password_change() {
            return Err(Refusal::PasswordChange);
        }
        if let Credential::Token { scope, .. } = self.credential {
            if !operation.for_tokens() {
                return Err(Refusal::Token);
            }
            if scope == Scope::Read && operation.writes() {
                return Err(Refusal::Scope);
            }
        }
        match reach(self.role, operation) {
            Reach::None => Err(Refusal::Role),
            reach => Ok(reach),
        }
    }
}

/// Who is named in the audit.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// A user over the API.
    Principal(&'a Principal),
    /// `apply`, `cli` or `start`: whoever may run the program.
    System(&'static str),
    /// Somebody who claims to be this user and has not proved it, or just has: a log-in.
    Claimed {
        /// The user, where there is one of that name.
        user: Option<UserId>,
        /// The name as it was given, in lower case.
        username: &'a str,
        /// From where.
        address: Option<IpAddr>,
    },
}

impl<'a> From<&'a Principal> for Actor<'a> {
    fn from(principal: &'a Principal) -> Self {
        Self::Principal(principal)
    }
}
