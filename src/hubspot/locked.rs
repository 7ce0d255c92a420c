//! Secrets that tasks share are each held for a moment, and never across a wait.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a secret, also where a thread has panicked while it held the lock: a secret is replaced as a whole, so it is
/// never half written.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
