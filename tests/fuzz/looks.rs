//! HubSpot's answer to a read and to a creation: what it does not say is never taken for gone, nor for done.
//!
//! Samples look as those of `replies`.

use association_archiver::contract::association::{Pair, RecordId};
use association_archiver::contract::text::TEXT_MAX_BYTES;
use association_archiver::engine::reply::{Answer, Body, Reply};
use association_archiver::engine::verdict::{
    Creation, Judgement, LookAsked, PairVerdict, RecordVerdict, RecordView, judge_creation, judge_look,
};

use crate::campaign::{self, Taken};
use crate::replies::read;

#[test]
fn nothing_is_gone_or_done_by_silence() {
    campaign::run("looks", |wire| {
        let answer = read(wire);
        let reply = Reply::Answer(answer.clone());
        let evidence = Evidence::of(&answer);
        let asked: Vec<_> = [101, 102, 103].map(|from| LookAsked { from: id(from), after: Some("1".into()) }).into();
        let looked = judge_look(&reply, &asked);
        assert_eq!(looked, judge_look(&reply, &asked), "the same answer, the same judgement");
        let mut taken = check_look(&looked, &asked, &evidence);
        let pairs: Vec<_> = [101, 102, 103].map(|from| Pair { from: id(from), to: id(from + 800) }).into();
        for creation in [Creation::Types, Creation::Default] {
            if check_creation(&judge_creation(&reply, &pairs, creation), &pairs, &evidence) == Taken::Accepted {
                taken = Taken::Accepted;
            }
        }
        taken
    });
}

struct Evidence {
    text: String,
    accepted: bool,
}

impl Evidence {
    fn of(answer: &Answer) -> Self {
        let (bytes, whole) = match &answer.body {
            Body::Whole(bytes) => (bytes, true),
            Body::CutOff(bytes) | Body::TooLarge(bytes) => (bytes, false),
        };
        let text = String::from_utf8_lossy(bytes).into_owned();
        Self { text, accepted: (200..300).contains(&answer.status) && whole }
    }

    /// A word may be written with escapes.
    fn says(&self, word: &str) -> bool {
        self.text.contains(word) || self.text.contains("\\u")
    }
}

fn check_look(judged: &Result<Vec<RecordVerdict>, Judgement>, asked: &[LookAsked], evidence: &Evidence) -> Taken {
    let Ok(verdicts) = judged else { return Taken::Refused };
    assert_eq!(verdicts.len(), asked.len());
    assert!(verdicts.iter().any(|verdict| *verdict != RecordVerdict::Untouched), "asked again for ever");
    for (record, verdict) in asked.iter().zip(verdicts) {
        let RecordVerdict::Seen(RecordView { found, next }) = verdict else { continue };
        let named = evidence.accepted && evidence.says(&record.from.to_string());
        assert!(named || evidence.says("NO_ASSOCIATIONS_FOUND"), "{record:?} is seen by nobody's word");
        assert!(found.is_sorted_by(|a, b| a.to < b.to));
        assert!(next.is_none() || *next != record.after, "read for ever");
        for types in found.iter().filter_map(|found| found.types.as_ref()) {
            assert!(types.is_sorted_by(|a, b| a.label < b.label));
            assert!(types.iter().flat_map(|one| &one.name).all(|name| (1..=TEXT_MAX_BYTES).contains(&name.len())));
        }
    }
    Taken::Accepted
}

fn check_creation(judgement: &Judgement, pairs: &[Pair], evidence: &Evidence) -> Taken {
    let done = |pair: &Pair| {
        let named = evidence.says(&pair.from.to_string()) && evidence.says(&pair.to.to_string());
        assert!(evidence.accepted && named, "{pair:?} is created by nobody's word");
    };
    match judgement {
        Judgement::Archived => pairs.iter().for_each(done),
        Judgement::Each(verdicts) => {
            assert_eq!(verdicts.len(), pairs.len());
            assert!(verdicts.iter().any(|verdict| *verdict != PairVerdict::Untouched), "sent again for ever");
            let created = pairs.iter().zip(verdicts).filter(|(_, verdict)| **verdict == PairVerdict::Archived);
            created.map(|(pair, _)| pair).for_each(done);
        }
        Judgement::Suspect(_)
        | Judgement::LaneRefused(_)
        | Judgement::Again(_)
        | Judgement::Throttled(_)
        | Judgement::PauseLane(_)
        | Judgement::PauseAccount(_) => return Taken::Refused,
    }
    Taken::Accepted
}

fn id(number: u64) -> RecordId {
    RecordId(number.try_into().unwrap())
}
