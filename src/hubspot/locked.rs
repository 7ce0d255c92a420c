//! Secrets that tasks share are each held for a moment, and never across a wait.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A thread that panicked leaves secrets as they were: each is replaced whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
