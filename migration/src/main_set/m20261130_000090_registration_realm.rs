//! What tells registrations with one SIP password from those with another.

use crate::dialect::step;

step! {
    /// The digest realm of `md5_cred`, and part of the AOR's name; NULL: `asterisk`, as for all who registered before this was kept.
    "ALTER TABLE clients ADD COLUMN registration_realm TEXT NULL CHECK (registration_realm <> '');"
}
