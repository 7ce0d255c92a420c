//! HubSpot's answer: status, headers and body. Nothing is archived that was not accepted, no pair fails because of a
//! neighbour, and each pair has exactly one verdict.
//!
//! A sample looks as on the wire: a status line with the number alone, headers, an empty line, the body. The header
//! `cut-off` breaks the transport off behind it.

use std::time::Duration;

use association_archiver::contract::association::{Pair, RecordId};
use association_archiver::contract::refusal::Refusal;
use association_archiver::contract::text::{MESSAGE_MAX_BYTES, TEXT_MAX_BYTES};
use association_archiver::engine::reply::{Answer, Body, Headers, Reply, RetryAfter};
use association_archiver::engine::verdict::{AccountPauseKind, Judgement, LanePauseKind, PairVerdict, judge};
use jiff::Timestamp;

use crate::campaign::{self, Taken};

#[test]
fn every_answer_has_one_verdict_a_pair() {
    campaign::run("replies", |wire| {
        let answer = read(wire);
        let requests = [pairs(&[(101, 901)]), pairs(&[(101, 901), (101, 902), (102, 901)]), pairs(&MANY)];
        let mut taken = Taken::Refused;
        for request in requests {
            let reply = Reply::Answer(answer.clone());
            let judgement = judge(&reply, &request);
            assert_eq!(judgement, judge(&reply, &request), "the same answer, the same judgement");
            check(&judgement, &answer, &request);
            if matches!(judgement, Judgement::Archived | Judgement::Each(_)) {
                taken = Taken::Accepted;
            }
        }
        taken
    });
}

const MANY: [(u64, u64); 6] =
    [(101, 901), (102, 902), (103, 903), (104, 904), (105, 905), (9_007_199_254_740_993, 906)];

fn pairs(ids: &[(u64, u64)]) -> Vec<Pair> {
    let record = |id: u64| RecordId(id.try_into().unwrap());
    ids.iter().map(|&(from, to)| Pair { from: record(from), to: record(to) }).collect()
}

pub fn read(wire: &[u8]) -> Answer {
    let mut lines = wire.split_inclusive(|byte| *byte == b'\n');
    let status = lines.next().map(<[u8]>::trim_ascii).and_then(|line| str::from_utf8(line).ok()?.parse().ok());
    let mut headers = Vec::new();
    let mut body_at = wire.split_inclusive(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
    for line in lines {
        body_at += line.len();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { break };
        headers.push((line[..colon].trim_ascii().to_ascii_lowercase(), line[colon + 1..].trim_ascii()));
    }
    let value = |name: &str| headers.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| *value);
    let body = wire[body_at..].to_vec().into();
    Answer {
        status: status.unwrap_or(200),
        headers: Headers::read(value),
        body: if value("cut-off").is_some() { Body::CutOff(body) } else { Body::Whole(body) },
    }
}

fn check(judgement: &Judgement, answer: &Answer, request: &[Pair]) {
    check_headers(&answer.headers);
    let (bytes, whole) = match &answer.body {
        Body::Whole(bytes) => (bytes, true),
        Body::CutOff(bytes) | Body::TooLarge(bytes) => (bytes, false),
    };
    let text = String::from_utf8_lossy(bytes);
    // A word may be written with escapes.
    let says = |word: &str| text.contains(word) || text.contains("\\u");
    let none_there = says("NO_ASSOCIATIONS_FOUND");
    let may_archive = ((200..300).contains(&answer.status) && whole) || none_there;
    match judgement {
        Judgement::Archived => assert!(may_archive, "archived by a {}", answer.status),
        Judgement::Each(verdicts) => {
            assert_eq!(verdicts.len(), request.len());
            assert!(verdicts.iter().any(|verdict| *verdict != PairVerdict::Archived));
            assert!(verdicts.iter().any(|verdict| *verdict != PairVerdict::Untouched), "sent again for ever");
            for (pair, verdict) in request.iter().zip(verdicts) {
                check_verdict(*pair, verdict, may_archive, &text, request);
            }
        }
        Judgement::Suspect(refusal) => {
            assert!(request.len() > 1, "a pair that was alone needs no isolation");
            check_texts(refusal);
        }
        Judgement::LaneRefused(refusal) => check_texts(refusal),
        Judgement::Again(again) => {
            check_texts(&again.refusal);
            assert!(again.refusal.retryable);
            assert!(again.least_wait(Timestamp::UNIX_EPOCH) <= RetryAfter::MAX);
        }
        Judgement::Throttled(throttled) => {
            // A body that names the policy of a limit speaks of one, whatever else it says.
            assert!(answer.status == 429 || says("RATE_LIMIT") || says("policyName"));
            check_texts(&throttled.refusal);
        }
        Judgement::PauseLane(pause) => {
            check_texts(&pause.refusal);
            match &pause.kind {
                LanePauseKind::MissingScopes(scopes) => assert!(scopes.len() <= LanePauseKind::MAX_SCOPES),
                LanePauseKind::Forbidden
                | LanePauseKind::NotFound
                | LanePauseKind::MethodNotAllowed
                | LanePauseKind::UnsupportedMedia
                | LanePauseKind::Redirected => {}
            }
        }
        Judgement::PauseAccount(pause) => {
            check_texts(&pause.refusal);
            match pause.kind {
                AccountPauseKind::Moving(_) => assert_eq!(answer.status, 477),
                AccountPauseKind::ProxyRefused => assert_eq!(answer.status, 407),
                AccountPauseKind::TokenExpired | AccountPauseKind::TokenInvalid | AccountPauseKind::TokenRefused => {
                    assert!(answer.status == 401 || says("_AUTHENTICATION"));
                }
            }
        }
    }
}

fn check_verdict(pair: Pair, verdict: &PairVerdict, may_archive: bool, text: &str, request: &[Pair]) {
    match verdict {
        PairVerdict::Archived => assert!(may_archive, "{pair:?} is archived by nobody's word"),
        PairVerdict::Refused(refusal) => {
            let named = text.contains(&pair.from.to_string()) || text.contains(&pair.to.to_string());
            let escaped = text.contains("\\u00");
            assert!(request.len() == 1 || named || escaped, "{pair:?} fails because of a neighbour");
            check_texts(refusal);
        }
        PairVerdict::Suspect(refusal) => {
            assert!(request.len() > 1);
            check_texts(refusal);
        }
        PairVerdict::Again(again) => check_texts(&again.refusal),
        PairVerdict::Untouched => assert!(request.len() > 1),
    }
}

fn check_texts(refusal: &Refusal) {
    assert!((1..=MESSAGE_MAX_BYTES).contains(&refusal.message.len()));
    assert!(refusal.source.category().len() <= TEXT_MAX_BYTES);
    assert!(refusal.sub_category.as_ref().is_none_or(|text| text.len() <= TEXT_MAX_BYTES));
    assert!(refusal.correlation_id.as_ref().is_none_or(|text| text.len() <= TEXT_MAX_BYTES));
}

fn check_headers(headers: &Headers) {
    for text in [&headers.correlation_id, &headers.cf_ray].into_iter().flatten() {
        assert!((1..=TEXT_MAX_BYTES).contains(&text.len()));
    }
    if let Some(after) = headers.retry_after {
        for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            assert!(after.wait(now) <= Duration::from_secs(24 * 60 * 60));
        }
    }
}
