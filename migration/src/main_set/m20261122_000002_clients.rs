//! Call centres and how they are reached.

use crate::dialect::step;

step! {
    /// `client_identifier` is the PJSIP endpoint id; two that differ only in case would be one to some phones and two to others,
    /// hence the index on the lower-cased text. `sip` is JSON without secrets; `md5_cred` is what a registering client is checked
    /// against (the password itself is never stored).
    "CREATE TABLE clients (
        id $ID,
        client_identifier TEXT NOT NULL CHECK (length(client_identifier) BETWEEN 1 AND 40),
        name TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'archived')),
        max_concurrency $INT NULL CHECK (max_concurrency BETWEEN 0 AND 4294967295),
        send_headers $BOOL NOT NULL,
        sip TEXT NOT NULL,
        md5_cred TEXT NULL CHECK (length(md5_cred) = 32)
    ) $STRICT;
    CREATE UNIQUE INDEX clients_client_identifier_lower ON clients (lower(client_identifier));"
}
