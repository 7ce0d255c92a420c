//! What there is of each configured account, by its index.

use std::ops::{Index, IndexMut};

use crate::contract::ids::AccountIndex;

/// Something for each configured account. An [`AccountIndex`] that was checked with [`PerAccount::get`] once, when it
/// came in from outside, may be used as an index from then on.
#[derive(Clone, Debug)]
pub struct PerAccount<T>(Vec<T>);

impl<T> PerAccount<T> {
    pub fn new(of_each: impl IntoIterator<Item = T>) -> Self {
        Self(of_each.into_iter().collect())
    }

    pub fn get(&self, account: AccountIndex) -> Option<&T> {
        self.0.get(account.0 as usize)
    }

    pub fn get_mut(&mut self, account: AccountIndex) -> Option<&mut T> {
        self.0.get_mut(account.0 as usize)
    }

    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.0.iter_mut()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    pub fn indices(&self) -> impl Iterator<Item = AccountIndex> + use<T> {
        (0..u32::try_from(self.0.len()).unwrap_or(u32::MAX)).map(AccountIndex)
    }
}

impl<T> Index<AccountIndex> for PerAccount<T> {
    type Output = T;

    fn index(&self, account: AccountIndex) -> &T {
        &self.0[account.0 as usize]
    }
}

impl<T> IndexMut<AccountIndex> for PerAccount<T> {
    fn index_mut(&mut self, account: AccountIndex) -> &mut T {
        &mut self.0[account.0 as usize]
    }
}
