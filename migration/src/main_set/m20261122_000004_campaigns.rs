//! Sellers' offers.

use crate::dialect::step;

step! {
    /// `(id, seller_id, status)` is unique so that `campaign_dids` can refer to a campaign together with its status.
    "CREATE TABLE campaigns (
        id $ID,
        seller_id $INT NOT NULL REFERENCES users (id),
        name TEXT NOT NULL CHECK (name <> ''),
        routing_strategy TEXT NOT NULL CHECK (routing_strategy IN ('priority', 'round_robin', 'weighted')),
        dial_timeout_seconds $INT NOT NULL CHECK (dial_timeout_seconds BETWEEN 1 AND 600),
        setup_budget_seconds $INT NULL CHECK (setup_budget_seconds BETWEEN 1 AND 3600),
        max_duration_seconds $INT NULL CHECK (max_duration_seconds BETWEEN 1 AND 86400),
        max_concurrency $INT NULL CHECK (max_concurrency BETWEEN 0 AND 4294967295),
        status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'archived')),
        UNIQUE (seller_id, name),
        UNIQUE (id, seller_id, status)
    ) $STRICT;"
}
