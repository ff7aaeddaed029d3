//! What a campaign's callers hear.

use crate::dialect::step;

step! {
    /// A NULL rejection means the site's.
    "ALTER TABLE campaigns ADD COLUMN early_media $BOOL NOT NULL DEFAULT $TRUE;
    ALTER TABLE campaigns ADD COLUMN reject_inactive_campaign $SMALL NULL CHECK (reject_inactive_campaign BETWEEN 400 AND 699);
    ALTER TABLE campaigns ADD COLUMN reject_no_active_link $SMALL NULL CHECK (reject_no_active_link BETWEEN 400 AND 699);
    ALTER TABLE campaigns ADD COLUMN reject_all_full $SMALL NULL CHECK (reject_all_full BETWEEN 400 AND 699);
    ALTER TABLE campaigns ADD COLUMN reject_nobody_answered $SMALL NULL CHECK (reject_nobody_answered BETWEEN 400 AND 699);"
}
