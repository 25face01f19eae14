//! What takes long to close.
//!
//! In: a socket. Out: the same, to be used as ever. Never: a wait for its end: closing a packet socket, or an nftables one,
//! waits for an RCU grace period (10 ms), and most are closed by the dozen.

use std::ops::Deref;

/// Something whose closing may block; it is closed on a thread of its own, that nobody waits for.
#[derive(Debug)]
pub(super) struct ClosedAside<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> ClosedAside<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T: Send + 'static> Deref for ClosedAside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("the value is taken only when it is dropped")
    }
}

impl<T: Send + 'static> Drop for ClosedAside<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        match std::thread::Builder::new().spawn(move || drop(value)) {
            Ok(thread) => drop(thread),
            // Without a thread the value has gone with the closure: closed here, only slower.
            Err(error) => tracing::debug!(%error, "no thread to close a socket on"),
        }
    }
}
