//! Stops reading from the broker's socket while the AMQP library holds more than the consumer has taken from it.
//!
//! The library reads as fast as it can, into a queue without limit. The prefetch bounds that queue by a number of
//! messages, which says nothing of their bytes. What is not read stays with the broker.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Bytes of whole bodies that the library may hold. A message is counted when it is complete, so that a larger one passes.
const MAX_UNTAKEN_BYTES: u64 = 8 * 1024 * 1024;

/// Stands between the socket of a connection and its consumers. The socket is held up. The consumers must go on taking
/// deliveries whatever else they wait for, since answers of the broker come behind its deliveries.
///
/// Two connections share it for a while where the first one is out of channel numbers.
#[derive(Debug, Default)]
pub struct Valve {
    /// Consumers that take what comes. Without one nobody would open the valve again.
    watchers: AtomicUsize,
    untaken: AtomicU64,
    /// The sockets that wait to be read.
    readers: Mutex<Vec<Waker>>,
}

impl Valve {
    /// A connection begins: what an earlier one brought is gone with it, or as good as taken.
    pub(super) fn begin(&self) {
        self.untaken.store(0, Ordering::Release);
        self.wake_readers();
    }

    /// A consumer is about to take deliveries.
    pub(super) fn watch(&self) {
        if self.watchers.fetch_add(1, Ordering::AcqRel) == 0 {
            self.begin();
        }
    }

    /// A consumer takes no more.
    pub(super) fn leave(&self) {
        self.watchers.fetch_sub(1, Ordering::AcqRel);
        self.wake_readers();
    }

    /// A consumer took this many bytes. Whoever consumes on the connection must say so, or the valve shuts for good.
    pub(super) fn took(&self, bytes: u64) {
        let take = |untaken: u64| Some(untaken.saturating_sub(bytes));
        let before = self.untaken.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).unwrap_or(0);
        if before > MAX_UNTAKEN_BYTES {
            self.wake_readers();
        }
    }

    /// The library was given a whole body of this many bytes.
    pub(super) fn gave(&self, bytes: u64) {
        self.untaken.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Ready when the socket may be read.
    pub(super) fn poll_open(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_open() {
            return Poll::Ready(());
        }
        {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if !readers.iter().any(|reader| reader.will_wake(context.waker())) {
                readers.push(context.waker().clone());
            }
        }
        // What was taken before the waker was there woke nobody.
        if self.is_open() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn wake_readers(&self) {
        let readers = std::mem::take(&mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner));
        readers.into_iter().for_each(Waker::wake);
    }

    fn is_open(&self) -> bool {
        self.watchers.load(Ordering::Acquire) == 0 || self.untaken.load(Ordering::Acquire) <= MAX_UNTAKEN_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    fn is_open(valve: &Valve) -> bool {
        valve.poll_open(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn it_is_shut_while_too_much_is_not_taken() {
        let valve = Valve::default();
        valve.watch();
        valve.gave(MAX_UNTAKEN_BYTES);
        assert!(is_open(&valve));
        valve.gave(1);
        assert!(!is_open(&valve));
        valve.took(1);
        assert!(is_open(&valve));
        valve.gave(10 * MAX_UNTAKEN_BYTES);
        valve.leave();
        assert!(is_open(&valve), "nobody takes what comes");
        valve.watch();
        assert!(is_open(&valve), "of an earlier consumer");
        valve.took(5);
        assert!(is_open(&valve));
        valve.gave(10 * MAX_UNTAKEN_BYTES);
        valve.watch();
        valve.leave();
        assert!(!is_open(&valve), "one of two consumers is left");
        valve.begin();
        assert!(is_open(&valve), "a new connection");
    }

    #[derive(Default)]
    struct Reader(AtomicU64);

    impl Wake for Reader {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_waits_is_woken_when_it_opens() {
        let (valve, readers) = (Valve::default(), [Arc::<Reader>::default(), Arc::default()]);
        let wait = || {
            for reader in &readers {
                let waker = Waker::from(Arc::clone(reader));
                assert!(valve.poll_open(&Context::from_waker(&waker)).is_pending());
            }
        };
        let woken = || readers.each_ref().map(|reader| reader.0.load(Ordering::Relaxed));
        valve.watch();
        valve.gave(MAX_UNTAKEN_BYTES + 1);
        wait();
        wait();
        valve.took(1);
        assert_eq!(woken(), [1, 1]);
        valve.gave(1);
        wait();
        valve.begin();
        assert_eq!(woken(), [2, 2]);
    }
}
