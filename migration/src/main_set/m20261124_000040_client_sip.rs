//! How we answer clients that challenge us, and why a client's host may not be called.

use crate::dialect::step;

step! {
    /// Of the two secrets at most one is there: the digest where the realm is known, else the password itself.
    "ALTER TABLE clients ADD COLUMN outbound_md5_cred TEXT NULL CHECK (length(outbound_md5_cred) = 32);
    ALTER TABLE clients ADD COLUMN outbound_password TEXT NULL
        CHECK (outbound_password IS NULL OR outbound_md5_cred IS NULL);
    ALTER TABLE clients ADD COLUMN suspended_reason TEXT NULL CHECK (suspended_reason <> '');"
}
