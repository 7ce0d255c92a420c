//! Names of what is in hand. A key is never given to another job, pair or lane within one life of the engine.

use slotmap::new_key_type;

new_key_type! {
    /// A job in hand.
    pub struct JobKey;
    /// A pair in hand: a [`super::backlog::Node`].
    pub struct NodeKey;
    /// A lane; see [`super::lane`].
    pub struct LaneKey;
}
