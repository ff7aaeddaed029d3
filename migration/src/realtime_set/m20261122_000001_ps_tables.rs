//! The four tables of Asterisk's PJSIP realtime, with Asterisk's own column names.

use crate::dialect::step;

step! {
    /// All columns are text (Asterisk reads and writes text) and NULL means Asterisk's default. The columns are those in use and those
    /// for whose absence Asterisk 22 prints a warning. `IF NOT EXISTS`: an operator may have made the tables, to grant rights on them.
    "CREATE TABLE IF NOT EXISTS ps_endpoints (
        id TEXT PRIMARY KEY NOT NULL,
        transport TEXT, aors TEXT, auth TEXT, outbound_auth TEXT, outbound_proxy TEXT,
        context TEXT, identify_by TEXT, disallow TEXT, allow TEXT,
        direct_media TEXT, ice_support TEXT, rtp_symmetric TEXT, force_rport TEXT, rewrite_contact TEXT,
        dtmf_mode TEXT, media_encryption TEXT, rtp_timeout TEXT, rtp_timeout_hold TEXT, timers TEXT,
        allow_transfer TEXT, allow_subscribe TEXT, allow_overlap TEXT, redirect_method TEXT, moh_passthrough TEXT,
        trust_id_inbound TEXT, trust_id_outbound TEXT, send_pai TEXT, send_rpid TEXT,
        send_connected_line TEXT, trust_connected_line TEXT,
        from_user TEXT, from_domain TEXT, contact_acl TEXT, tone_zone TEXT, set_var TEXT
    ) $STRICT;
    CREATE TABLE IF NOT EXISTS ps_aors (
        id TEXT PRIMARY KEY NOT NULL,
        contact TEXT, max_contacts TEXT, remove_existing TEXT,
        qualify_frequency TEXT, qualify_timeout TEXT,
        minimum_expiration TEXT, default_expiration TEXT, maximum_expiration TEXT,
        support_path TEXT, outbound_proxy TEXT
    ) $STRICT;
    CREATE TABLE IF NOT EXISTS ps_auths (
        id TEXT PRIMARY KEY NOT NULL,
        auth_type TEXT, username TEXT, password TEXT, md5_cred TEXT, realm TEXT, nonce_lifetime TEXT
    ) $STRICT;
    CREATE TABLE IF NOT EXISTS ps_endpoint_id_ips (
        id TEXT PRIMARY KEY NOT NULL,
        endpoint TEXT, \"match\" TEXT, srv_lookups TEXT
    ) $STRICT;"
}
