//! PURE: what was read late, because nothing came from its node for a while.

use crate::clock::Now;

/// When something that was read late happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// Not before then: all that came earlier was heard.
    pub since: Now,
    /// Most likely then; `None`: nothing says when within that time.
    pub likely: Option<Now>,
}
