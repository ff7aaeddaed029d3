//! Turns on a thread that sockets share with whoever reads their events: nobody is broken off. Who has much to do does a slice of it, and
//! lets the others have their turns.

/// How much is done in a row: each piece takes some ten microseconds, and so does whoever it wakes. A count and no time, so that a run
/// can be replayed.
pub const SLICE: usize = 16;

/// Counts what its owner does.
#[derive(Debug, Default)]
pub struct Turn {
    done: usize,
}

impl Turn {
    /// One more piece is done. Waits for the others' turns once that was a slice.
    pub async fn did(&mut self) {
        self.done += 1;
        if self.done >= SLICE {
            self.done = 0;
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Both do the same, one after the other: neither is ever ahead of the other by more than a slice.
    #[tokio::test]
    async fn nobody_does_more_than_a_slice_in_a_row() {
        let (most, counts) = (Cell::new(0), [Cell::new(0_usize), Cell::new(0)]);
        let work = async |own: usize| {
            let mut turn = Turn::default();
            for _ in 0..10 * SLICE {
                counts[own].set(counts[own].get() + 1);
                most.set(most.get().max(counts[0].get().abs_diff(counts[1].get())));
                turn.did().await;
            }
        };
        tokio::join!(work(0), work(1));
        assert_eq!((counts[0].get(), most.get()), (10 * SLICE, SLICE));
    }
}
