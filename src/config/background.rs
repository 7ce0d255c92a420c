//! `[background]`: jobs that only use what the live ones leave.

use super::section::Section;
use super::{SettingKey, SettingsError};
use crate::background::window::Window;
use crate::background::{BackgroundPolicy, Share};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BackgroundSettings {
    pub policy: BackgroundPolicy,
}

impl BackgroundSettings {
    pub(super) fn read(mut section: Section) -> Result<Self, SettingsError> {
        let default = BackgroundPolicy::default();
        let percent = section.integer("min_share", 0..=Share::MOST)?;
        let policy = BackgroundPolicy {
            min_share: percent.and_then(Share::of_percent).unwrap_or(default.min_share),
            window: section.scalar("window", WINDOW_RULE, window)?.unwrap_or(default.window),
        };
        section.finish()?;
        Ok(Self { policy })
    }

    /// Says which setting has no effect, since there is no background queue: the first that is not as by default.
    pub(super) fn without_queue(&self, cause: &str) -> Result<(), SettingsError> {
        let BackgroundPolicy { min_share, window } = BackgroundPolicy::default();
        let set = [
            ("background.min_share", self.policy.min_share != min_share),
            ("background.window", self.policy.window != window),
        ];
        match set.iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => {
                Err(SettingKey::new(key)
                    .refused(format!("has no effect without a background queue, and {cause}: drop it")))
            }
            None => Ok(()),
        }
    }
}

const WINDOW_RULE: &str = "must be \"none\", or two different times such as \"22:00-06:00\"";

fn window(text: &str) -> Option<Option<Window>> {
    if text == "none" { Some(None) } else { Window::parse(text).map(Some) }
}
