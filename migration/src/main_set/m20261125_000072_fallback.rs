//! Calls that the dialplan's fallback took.

use crate::dialect::step;

step! {
    /// How far each node's spool is read: a file by its device and inode, and how many bytes and lines of it, changed together with the
    /// records that its lines became. One channel of a node is imported once, whoever imports.
    "CREATE TABLE fallback_spools (
        node TEXT NOT NULL PRIMARY KEY,
        device $INT NOT NULL,
        inode $INT NOT NULL,
        bytes_read $INT NOT NULL CHECK (bytes_read >= 0),
        lines_read $INT NOT NULL CHECK (lines_read >= 0)
    ) $STRICT;
    CREATE UNIQUE INDEX call_logs_fallback ON call_logs (node, uniqueid) WHERE ending = 'fallback';"
}
