//! A hold is its party's own affair.

use crate::dialect::step;

step! {
    /// Asterisk's own name, 20.11, 21.6, 22.1 and later; older versions leave the column alone.
    "ALTER TABLE ps_endpoints ADD COLUMN suppress_moh_on_sendonly TEXT;"
}
