//! The number by which `serve` notices a change of configuration.

use crate::dialect::step;

step! {
    /// Exactly one row, grown in the transaction of every configuration change.
    "CREATE TABLE routing_revision (
        id $INT NOT NULL PRIMARY KEY CHECK (id = 1),
        revision $INT NOT NULL
    ) $STRICT;
    INSERT INTO routing_revision (id, revision) VALUES (1, 1);"
}
