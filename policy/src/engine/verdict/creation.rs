//! The reply to a `batch/create` or a `batch/associate/default`, judged.

use std::collections::HashMap;

use crate::contract::association::Pair;
use crate::engine::reply::Reply;
use crate::engine::verdict::Judgement;
use crate::engine::verdict::asked::{Asked, Showing, Shown};
use crate::engine::verdict::body::ReplyObject;
use crate::engine::verdict::results::created;
use crate::engine::verdict::table::judge_asked;

/// How pairs are associated again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Creation {
    /// `batch/create`: the types that the request names take the place of those that the pair has.
    Types,
    /// `batch/associate/default`: the plain association, beside what the pair has.
    Default,
}

/// Judges the reply to a request that was to create `pairs`, which are distinct and at least one; what is `Archived` in
/// the judgement is created.
///
/// Total, by the same table as [`super::judge`]. A pair counts as created only where HubSpot reports it: to a body in a
/// form that it does not want, HubSpot answers `COMPLETE` and does nothing. A pair that the reply does not mention goes
/// again, which is harmless once it has been looked at anew.
pub fn judge_creation(reply: &Reply, pairs: &[Pair], creation: Creation) -> Judgement {
    judge_asked(reply, Asked::Create(pairs), |object| shown(object, pairs, creation))
}

fn shown(object: &ReplyObject<'_>, pairs: &[Pair], creation: Creation) -> Shown {
    let Some(results) = object.results() else { return Shown::Unreadable };
    let mut reports: HashMap<Pair, usize> = pairs.iter().map(|pair| (*pair, 0)).collect();
    for pair in results.into_iter().filter_map(created) {
        if let Some(count) = reports.get_mut(&pair) {
            *count += 1;
        }
    }
    let showing = |pair: &Pair| {
        let mirror = Pair { from: pair.to, to: pair.from };
        // The default association is reported in both directions, without a word about which record is of which type:
        // one report may be that of the mirrored pair.
        let needed = match creation {
            Creation::Default if mirror != *pair && reports.contains_key(&mirror) => 2,
            Creation::Default | Creation::Types => 1,
        };
        if reports.get(pair).is_some_and(|&count| count >= needed) { Showing::Done } else { Showing::Not }
    };
    Shown::Each(pairs.iter().map(showing).collect())
}
