#[derive(Debug)]
pub struct Published(());
impl Published { pub(super) fn spend(self) {} }
