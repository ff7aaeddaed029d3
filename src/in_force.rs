//! A part of the configuration that may change while the process runs.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// What is in force now. Clones are the same one.
#[derive(Debug)]
pub struct InForce<T>(Arc<ArcSwap<T>>);

impl<T> Clone for InForce<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<T> for InForce<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }
}

impl<T> InForce<T> {
    /// As it is at this moment; whoever has it keeps it.
    #[must_use]
    pub fn now(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces it, for everybody who asks from now on.
    pub fn put(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

impl<T: Copy> InForce<T> {
    /// A copy of it as it is at this moment.
    #[must_use]
    pub fn copy(&self) -> T {
        **self.0.load()
    }
}
