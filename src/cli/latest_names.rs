//! Names that are there, for whoever asks for one that is not.

use std::collections::VecDeque;

use super::paint::harmless;

/// Names in a message at most.
const MOST: usize = 5;

/// The latest different ones.
#[derive(Clone, Default, Debug)]
pub struct LatestNames(VecDeque<String>);

impl LatestNames {
    pub fn note(&mut self, name: &str) {
        if self.0.back().is_some_and(|last| last == name) {
            return;
        }
        self.0.retain(|known| known != name);
        self.0.push_back(name.to_owned());
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latest first.
    pub fn in_words(&self) -> String {
        harmless(&self.0.iter().rev().map(String::as_str).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_each_once() {
        let mut names = LatestNames::default();
        assert!(names.is_empty());
        for name in ["a", "b", "b", "c", "a", "d", "e", "f", "a"] {
            names.note(name);
        }
        assert_eq!(names.in_words(), "a, f, e, d, c");
    }
}
