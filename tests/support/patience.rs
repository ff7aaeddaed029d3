//! How long tests wait.

use std::time::Duration;

/// For anything that must happen: far longer than it takes, also where the machine has much else to do, or its disk stands still for a
/// minute. A test that waits for what happens is as quick as that.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
