//! What is noticed of answers beside what they were asked for.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::contract::text::{TEXT_MAX_BYTES, cut};
use crate::engine::reply::{Answer, RateHeaders};
use crate::hubspot::wording::json;

#[derive(Debug, Default)]
pub struct Sightings {
    /// `toObjectId` as a number, and as a string.
    pub numbers: bool,
    pub strings: bool,
    /// Associations on the largest page, and whether another page followed it.
    pub largest_page: usize,
    pub more_behind: bool,
    /// A record without associations that is named in `errors`, and one that nothing is said of.
    pub named_without: bool,
    pub silent_without: bool,
    /// Every `status` of a batch.
    pub states: BTreeSet<String>,
    /// The headers about limits of the last answer that had any.
    pub rate: Option<RateHeaders>,
    pub answers_with_rate: u32,
    pub answers: u32,
    pub throttled: u32,
}

impl Sightings {
    /// Any answer.
    pub fn note(&mut self, answer: &Answer) {
        self.answers += 1;
        self.throttled += u32::from(answer.status == 429);
        if answer.headers.rate != RateHeaders::default() {
            self.answers_with_rate += 1;
            self.rate = Some(answer.headers.rate);
        }
        if !(200..300).contains(&answer.status) {
            return;
        }
        let state = json(answer).and_then(|body| Some(cut(body.get("status")?.as_str()?, TEXT_MAX_BYTES).to_owned()));
        self.states.extend(state);
    }

    /// The answer to a read of one record.
    pub fn note_page(&mut self, answer: &Answer) {
        let Some(body) = json(answer).filter(|_| (200..300).contains(&answer.status)) else { return };
        let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let (results, errors) = (list(body.get("results")), list(body.get("errors")));
        for result in &results {
            let to = list(result.get("to"));
            self.numbers |= to.iter().any(|to| to.get("toObjectId").is_some_and(Value::is_number));
            self.strings |= to.iter().any(|to| to.get("toObjectId").is_some_and(Value::is_string));
            if to.len() > self.largest_page {
                self.largest_page = to.len();
                self.more_behind = result.pointer("/paging/next/after").is_some();
            }
        }
        if results.is_empty() {
            self.named_without |= !errors.is_empty();
            self.silent_without |= errors.is_empty();
        }
    }
}
