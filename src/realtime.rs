//! PURE: a client's SIP settings and the `ps_*` rows that Asterisk reads.
//!
//! [`SipForm`] is what people write, [`SipSettings`] what it means once every value is checked, [`rows`] what Asterisk gets.

mod rows;
mod settings;

pub use rows::{PsRow, PsRows, TABLES, UnsafeValue, rows};
pub use settings::{
    Codec, DtmfMode, Host, Md5Cred, Password, REALM, Reach, RegistrationForm, SipForm, SipName, SipSettings,
    SipTransport, reserved,
};
