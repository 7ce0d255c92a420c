//! Whether jobs of a queue are taken in: while this worker holds the lease, if there is one; and jobs of the background
//! only within their hours.

use tokio::sync::watch;

/// The keeper's end.
#[derive(Debug)]
pub struct GateKeeper(watch::Sender<bool>);

/// The intake's end.
#[derive(Clone, Debug)]
pub struct Gate {
    door: watch::Receiver<bool>,
    /// Closed while jobs of the background are not to be worked on.
    second: Option<watch::Receiver<bool>>,
}

impl Gate {
    /// A gate that stays as it is when its keeper is dropped.
    pub fn new(open: bool) -> (GateKeeper, Self) {
        let (keeper, gate) = watch::channel(open);
        (GateKeeper(keeper), Self { door: gate, second: None })
    }

    /// A gate that is open while both doors are.
    pub fn behind(self, second: watch::Receiver<bool>) -> Self {
        Self { second: Some(second), ..self }
    }

    pub fn is_open(&self) -> bool {
        *self.door.borrow() && self.second.as_ref().is_none_or(|second| *second.borrow())
    }

    /// Waits until it is open; for ever where nobody is left to open it. Cancel-safe.
    pub async fn opened(&mut self) {
        while !self.is_open() {
            becomes(&mut self.door, true).await;
            if let Some(second) = &mut self.second {
                becomes(second, true).await;
            }
        }
    }

    /// Waits until it is closed. Cancel-safe.
    pub async fn closed(&mut self) {
        match &mut self.second {
            None => becomes(&mut self.door, false).await,
            Some(second) => tokio::select! {
                () = becomes(&mut self.door, false) => {}
                () = becomes(second, false) => {}
            },
        }
    }
}

async fn becomes(door: &mut watch::Receiver<bool>, wanted: bool) {
    if door.wait_for(|open| *open == wanted).await.is_err() {
        std::future::pending().await
    }
}

impl GateKeeper {
    pub(super) fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    pub(super) fn set(&self, open: bool) {
        self.0.send_replace(open);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_gate_with_two_doors_is_open_while_both_are() {
        let (keeper, gate) = Gate::new(false);
        let (switch, second) = watch::channel(false);
        let mut gate = gate.behind(second);
        let stands = |gate: &mut Gate| (gate.is_open(), gate.opened().now_or_never(), gate.closed().now_or_never());
        assert_eq!(stands(&mut gate), (false, None, Some(())));
        keeper.set(true);
        assert_eq!(stands(&mut gate), (false, None, Some(())));
        switch.send_replace(true);
        assert_eq!(stands(&mut gate), (true, Some(()), None));
        keeper.set(false);
        assert_eq!(stands(&mut gate), (false, None, Some(())));
        keeper.set(true);
        switch.send_replace(false);
        assert_eq!(stands(&mut gate), (false, None, Some(())));
    }
}
