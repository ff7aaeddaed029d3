//! Which DID feeds which campaign.

use crate::dialect::step;

step! {
    /// The two rules that keep a call from going where it should not are the database's own: both foreign keys carry the seller, so a
    /// DID feeds only its own seller's campaigns; and the campaign's status is carried along by the key (updated with it), so that the
    /// partial index can say that a DID feeds at most one active campaign.
    "CREATE TABLE campaign_dids (
        campaign_id $INT NOT NULL,
        did_id $INT NOT NULL,
        seller_id $INT NOT NULL,
        campaign_status TEXT NOT NULL,
        PRIMARY KEY (campaign_id, did_id),
        FOREIGN KEY (did_id, seller_id) REFERENCES dids (id, seller_id),
        FOREIGN KEY (campaign_id, seller_id, campaign_status) REFERENCES campaigns (id, seller_id, status) ON UPDATE CASCADE
    ) $STRICT;
    CREATE UNIQUE INDEX campaign_dids_one_active ON campaign_dids (did_id) WHERE campaign_status = 'active';
    CREATE INDEX campaign_dids_did ON campaign_dids (did_id);"
}
