//! Look-ups that cannot fail unless the engine has a bug.

/// Passes on what was found. A miss is a bug: debug builds, and with them all tests and the simulation, stop here and
/// say `why` there had to be something; a release build goes on without it, since a worker must not stop.
#[inline]
pub fn expected<T>(found: Option<T>, why: &str) -> Option<T> {
    debug_assert!(found.is_some(), "{why}");
    found
}
