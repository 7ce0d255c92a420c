//! News of an account's secrets.

use crate::config::SettingsError;
use crate::contract::ids::AccountIndex;

/// Something happened to an account's secrets.
#[derive(Debug)]
pub enum CredentialNews {
    /// The store holds other secrets by now.
    Changed(AccountIndex),
    /// The secrets are kept as they were. Said once, until the file can be read again.
    Unreadable { account: AccountIndex, fault: SettingsError },
}
