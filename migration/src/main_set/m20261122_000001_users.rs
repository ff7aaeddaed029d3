//! People who sign in, and sellers.

use crate::dialect::step;

step! {
    /// Usernames are kept in lower case, so that unique means unique ignoring case.
    "CREATE TABLE users (
        id $ID,
        username TEXT NOT NULL UNIQUE CHECK (username = lower(username) AND username <> ''),
        name TEXT NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('admin', 'staff', 'seller')),
        status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
        password_hash TEXT NULL
    ) $STRICT;"
}
