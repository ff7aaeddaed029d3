//! Ports that no other test of this machine uses, without asking the kernel for one and hoping it stays free.

use std::cell::Cell;
use std::fs::File;
use std::net::{TcpListener, UdpSocket};

/// First port of the first block. All blocks lie below the kernel's range for outgoing connections (32768).
const FIRST: u16 = 12_000;
/// Ports per block: a whole test site with its media.
const PER_BLOCK: u16 = 400;
/// As many blocks as fit below 32768.
const BLOCKS: u16 = 50;

/// A block of ports, ours until this is dropped: the lock on a file says so to every other process.
#[derive(Debug)]
pub(crate) struct Ports {
    first: u16,
    next: Cell<u16>,
    _lock: File,
}

impl Ports {
    /// Takes a block that no other test holds.
    ///
    /// # Panics
    /// When all blocks are taken, or the temporary folder cannot be written.
    pub(crate) fn take() -> Self {
        let dir = std::env::temp_dir().join("capconduit-test-ports");
        std::fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
        for block in 0..BLOCKS {
            let path = dir.join(format!("block-{block}"));
            let Ok(lock) = File::options().create(true).truncate(false).write(true).open(&path) else { continue };
            if lock.try_lock().is_ok() {
                let first = FIRST + block * PER_BLOCK;
                return Self { first, next: Cell::new(first), _lock: lock };
            }
        }
        panic!("all {BLOCKS} blocks of test ports are taken: see {}", dir.display());
    }

    /// The next port of the block that nobody outside the tests uses either.
    ///
    /// # Panics
    /// When the block is used up.
    pub(crate) fn one(&self) -> u16 {
        self.run(1)
    }

    /// The first of `n` ports in a row, the first of them free for TCP and UDP.
    ///
    /// # Panics
    /// When the block is used up.
    pub(crate) fn run(&self, n: u16) -> u16 {
        loop {
            let port = self.next.get();
            assert!(port + n <= self.first + PER_BLOCK, "a test site wants more than {PER_BLOCK} ports");
            self.next.set(port + n);
            if TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok() {
                return port;
            }
        }
    }
}
