//! The main database, step by step.

use sea_orm_migration::prelude::MigrationTrait;

mod m20261122_000001_users;
mod m20261122_000002_clients;
mod m20261122_000003_dids;
mod m20261122_000004_campaigns;
mod m20261122_000005_campaign_dids;
mod m20261122_000006_campaign_client_settings;
mod m20261122_000007_call_logs;
mod m20261122_000008_call_attempts;
mod m20261122_000009_routing_revision;
mod m20261122_000011_accounts;
mod m20261122_000012_sessions;
mod m20261122_000013_api_tokens;
mod m20261122_000014_audit;
mod m20261122_000020_versions;
mod m20261122_000021_client_access;
mod m20261122_000030_call_filters;
mod m20261124_000031_idempotency;
mod m20261124_000032_session_families;
mod m20261124_000035_tell_of_changes;
mod m20261124_000040_client_sip;
mod m20261124_000050_counter_resets;
mod m20261124_000051_campaign_media;
mod m20261124_000052_call_filters;
mod m20261124_000060_legacy;
mod m20261125_000070_call_filters;
mod m20261125_000071_lost_calls;
mod m20261125_000072_fallback;
mod m20261129_000080_raw_dids;
mod m20261130_000090_registration_realm;
mod m20261130_000091_unseen_answers;
mod m20261130_000095_retention;
mod m20261130_000096_program;

pub(crate) fn all() -> Vec<Box<dyn MigrationTrait>> {
    vec![
        Box::new(m20261122_000001_users::Step),
        Box::new(m20261122_000002_clients::Step),
        Box::new(m20261122_000003_dids::Step),
        Box::new(m20261122_000004_campaigns::Step),
        Box::new(m20261122_000005_campaign_dids::Step),
        Box::new(m20261122_000006_campaign_client_settings::Step),
        Box::new(m20261122_000007_call_logs::Step),
        Box::new(m20261122_000008_call_attempts::Step),
        Box::new(m20261122_000009_routing_revision::Step),
        Box::new(m20261122_000011_accounts::Step),
        Box::new(m20261122_000012_sessions::Step),
        Box::new(m20261122_000013_api_tokens::Step),
        Box::new(m20261122_000014_audit::Step),
        Box::new(m20261122_000020_versions::Step),
        Box::new(m20261122_000021_client_access::Step),
        Box::new(m20261122_000030_call_filters::Step),
        Box::new(m20261124_000031_idempotency::Step),
        Box::new(m20261124_000032_session_families::Step),
        Box::new(m20261124_000035_tell_of_changes::Step),
        Box::new(m20261124_000040_client_sip::Step),
        Box::new(m20261124_000050_counter_resets::Step),
        Box::new(m20261124_000051_campaign_media::Step),
        Box::new(m20261124_000052_call_filters::Step),
        Box::new(m20261124_000060_legacy::Step),
        Box::new(m20261125_000070_call_filters::Step),
        Box::new(m20261125_000071_lost_calls::Step),
        Box::new(m20261125_000072_fallback::Step),
        Box::new(m20261129_000080_raw_dids::Step),
        Box::new(m20261130_000090_registration_realm::Step),
        Box::new(m20261130_000091_unseen_answers::Step),
        Box::new(m20261130_000095_retention::Step),
        Box::new(m20261130_000096_program::Step),
    ]
}
