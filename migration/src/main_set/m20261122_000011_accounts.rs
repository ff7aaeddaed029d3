//! What a user needs to sign in over the API.

use crate::dialect::step;

step! {
    /// `created_at` is unknown for rows that are older.
    "ALTER TABLE users ADD COLUMN must_change_password $BOOL NOT NULL DEFAULT $FALSE;
    ALTER TABLE users ADD COLUMN created_at $TIME NULL;
    ALTER TABLE users ADD COLUMN version $INT NOT NULL DEFAULT 1;"
}
