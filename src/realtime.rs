//! PURE: a client's SIP settings and the `ps_*` rows that Asterisk reads.
//!
//! [`SipForm`] is what people write, [`SipSettings`] what it means once every value is checked, [`Secrets`] what goes with it and is never
//! shown, [`Policy`] where an installation lets clients be, [`rows`] what Asterisk gets.

mod check;
mod host;
mod policy;
mod rows;
mod secrets;
mod settings;

pub use host::{Host, Realm, SipName};
pub use policy::{Forbidden, Policy, overlaps};
pub use rows::{PsRow, PsRows, TABLES, UnsafeValue, aor, rows};
pub use secrets::{Given, Md5Cred, Missing, OutboundSecret, OwnRealm, Password, REALM, Secrets};
pub use settings::{
    Codec, DtmfMode, OutboundAuth, OutboundAuthForm, Reach, RegistrationForm, SipForm, SipSettings, SipTransport,
    reserved,
};
