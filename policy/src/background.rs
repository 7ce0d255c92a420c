//! What the settings say of jobs that only use what others leave. `engine/background.rs` keeps to it.

use self::window::Window;

pub mod window;

/// Per cent of an account's requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share(u8);

impl Share {
    /// With more than half of the requests, the background would go before the live jobs.
    pub const MOST: u8 = 50;

    pub const TENTH: Self = Self(10);

    pub fn of_percent(percent: u8) -> Option<Self> {
        (percent <= Self::MOST).then_some(Self(percent))
    }

    pub fn percent(self) -> u8 {
        self.0
    }
}

/// The settings `background.min_share` and `background.window`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackgroundPolicy {
    pub min_share: Share,
    /// `None`: at any time.
    pub window: Option<Window>,
}

impl Default for BackgroundPolicy {
    fn default() -> Self {
        Self { min_share: Share::TENTH, window: None }
    }
}
