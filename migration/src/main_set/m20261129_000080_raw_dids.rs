//! DIDs that are no E.164 numbers.

use crate::dialect::step;

step! {
    /// `raw` stands in DIDs whose number is no E.164 number: found by their text, after the numbers. What is known without the numbering
    /// plans is marked here, the rest by `store::migrate` (`store/numbers.rs`), which knows them.
    "ALTER TABLE dids ADD COLUMN raw $BOOL NOT NULL DEFAULT $FALSE;
    UPDATE dids SET raw = $TRUE WHERE number NOT LIKE '+%';
    CREATE INDEX dids_raw ON dids (id) WHERE raw;"
}
