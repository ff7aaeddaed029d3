//! A version on every object that people change.

use crate::dialect::step;

step! {
    /// Grows with every change of the object, so that a writer who read an older one can be refused. Counting calls is no change.
    "ALTER TABLE clients ADD COLUMN version $INT NOT NULL DEFAULT 1;
    ALTER TABLE dids ADD COLUMN version $INT NOT NULL DEFAULT 1;
    ALTER TABLE campaigns ADD COLUMN version $INT NOT NULL DEFAULT 1;
    ALTER TABLE campaign_client_settings ADD COLUMN version $INT NOT NULL DEFAULT 1;"
}
