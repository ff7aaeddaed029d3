//! Tables of the main database as sea-orm entities, column for column as in `migration`; meaning and units are documented there.

pub mod api_tokens;
pub mod audit;
pub mod call_attempts;
pub mod call_logs;
pub mod campaign_client_settings;
pub mod campaign_dids;
pub mod campaigns;
pub mod client_sellers;
pub mod clients;
pub mod dids;
pub mod fallback_spools;
pub mod idempotency_keys;
pub mod retired_identifiers;
pub mod routing_revision;
pub mod sessions;
pub mod users;
