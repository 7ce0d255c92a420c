//! What is wrong with the inputs of a request, by the caps.

use crate::behaviour::{Caps, Repeats};
use crate::reply::{Answer, Voice};
use crate::request::Kind;
use crate::sighting::Violation;
use crate::wire::{Input, ReadInput};

/// Every rule that the inputs break, each once.
pub(crate) fn violations(kind: Kind, inputs: &[Input], caps: &Caps) -> Vec<Violation> {
    let mut broken = Vec::new();
    if inputs.is_empty() {
        broken.push(Violation::EmptyInputs);
    }
    if inputs.iter().any(|input| input.to.is_empty()) {
        broken.push(Violation::EmptyTo);
    }
    match kind {
        Kind::LabelsArchive => of_labels(inputs, caps, &mut broken),
        Kind::Create => {
            of_types(inputs, &mut broken);
            of_creation(inputs, caps, &mut broken);
        }
        Kind::AssociateDefault => of_creation(inputs, caps, &mut broken),
        Kind::Archive
        | Kind::Read
        | Kind::Labels
        | Kind::TokenRefresh
        | Kind::Introspect
        | Kind::AccessTokenInfo
        | Kind::AccountInfo
        | Kind::Other => of_archive(inputs, caps, &mut broken),
    }
    broken
}

/// As [`violations`], for `batch/read`.
pub(crate) fn read_violations(inputs: &[ReadInput], caps: &Caps) -> Vec<Violation> {
    let mut broken = Vec::new();
    if inputs.is_empty() {
        broken.push(Violation::EmptyInputs);
    }
    if inputs.len() > caps.read_inputs {
        broken.push(Violation::TooManyFrom);
    }
    if repeats(inputs.iter().map(|input| &input.from).collect()) {
        broken.push(Violation::RepeatedFrom);
    }
    broken
}

/// How HubSpot answers a request that breaks these; `None` if it does not mind.
pub(crate) fn refusal(broken: &[Violation], caps: &Caps, voice: Voice<'_>) -> Option<Answer> {
    broken.iter().find_map(|violation| match violation {
        Violation::TooManyPairs => Some(voice.error(413, None, "Request entity too large", serde_json::Value::Null)),
        Violation::TooManyFrom => Some(voice.validation("The request has more inputs than fit in a batch.")),
        Violation::RepeatedFrom | Violation::RepeatedPair => match caps.repeats {
            Repeats::Refused => Some(voice.validation("Duplicate ids found in the batch input.")),
            Repeats::Accepted => None,
        },
        Violation::EmptyInputs => Some(voice.validation("inputs must not be empty")),
        Violation::EmptyTypes => Some(voice.validation("types must not be empty")),
        Violation::EmptyTo | Violation::Malformed | Violation::OverCeiling => None,
    })
}

fn of_archive(inputs: &[Input], caps: &Caps, broken: &mut Vec<Violation>) {
    of_size(inputs, caps, broken);
    let mut from: Vec<u64> = inputs.iter().map(|input| input.from).collect();
    from.sort_unstable();
    from.dedup();
    if from.len() > caps.from {
        broken.push(Violation::TooManyFrom);
    }
    let repeated_pair = if from.len() < inputs.len() {
        broken.push(Violation::RepeatedFrom);
        let pairs = inputs.iter().flat_map(|input| input.to.iter().map(|&to| (input.from, to)));
        repeats(pairs.collect())
    } else {
        // With every `from` distinct a pair can repeat only within its input, mostly listed in order.
        let in_order = |input: &&Input| !input.to.is_sorted_by(|one, next| one < next);
        inputs.iter().filter(in_order).any(|input| repeats(input.to.clone()))
    };
    if repeated_pair {
        broken.push(Violation::RepeatedPair);
    }
}

fn of_types(inputs: &[Input], broken: &mut Vec<Violation>) {
    if inputs.iter().any(|input| input.labels.is_empty()) {
        broken.push(Violation::EmptyTypes);
    }
}

fn of_labels(inputs: &[Input], caps: &Caps, broken: &mut Vec<Violation>) {
    of_size(inputs, caps, broken);
    of_types(inputs, broken);
    if inputs.len() > caps.label_inputs {
        broken.push(Violation::TooManyFrom);
    }
    let whole = inputs.iter().map(|input| (input.from, input.to.as_slice(), input.labels.as_slice()));
    if repeats(whole.collect()) {
        broken.push(Violation::RepeatedPair);
    }
}

fn of_size(inputs: &[Input], caps: &Caps, broken: &mut Vec<Violation>) {
    let pairs: usize = inputs.iter().map(|input| input.to.len()).sum();
    if caps.pairs.is_some_and(|most| pairs > most) {
        broken.push(Violation::TooManyPairs);
    }
}

fn of_creation(inputs: &[Input], caps: &Caps, broken: &mut Vec<Violation>) {
    if inputs.len() > caps.create_inputs {
        broken.push(Violation::TooManyFrom);
    }
    if repeats(inputs.iter().map(|input| (input.from, input.to.as_slice())).collect()) {
        broken.push(Violation::RepeatedPair);
    }
}

fn repeats<T: Ord>(mut items: Vec<T>) -> bool {
    items.sort_unstable();
    !items.is_sorted_by(|one, next| one < next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{Label, LabelCategory};

    fn found(inputs: &[(u64, &[u64])]) -> Vec<Violation> {
        let inputs: Vec<_> =
            inputs.iter().map(|&(from, to)| Input { from, to: to.to_vec(), labels: Vec::new() }).collect();
        violations(Kind::Archive, &inputs, &Caps { from: 2, pairs: Some(4), ..Caps::default() })
    }

    #[test]
    fn good_inputs_break_nothing() {
        assert_eq!(found(&[(1, &[3, 2]), (2, &[2, 3])]), []);
    }

    #[test]
    fn each_broken_rule_is_found() {
        assert_eq!(found(&[]), [Violation::EmptyInputs]);
        assert_eq!(found(&[(1, &[])]), [Violation::EmptyTo]);
        assert_eq!(found(&[(1, &[1, 2, 3, 4, 5])]), [Violation::TooManyPairs]);
        assert_eq!(found(&[(1, &[1]), (2, &[1]), (3, &[1])]), [Violation::TooManyFrom]);
        assert_eq!(found(&[(1, &[1]), (1, &[2])]), [Violation::RepeatedFrom]);
        assert_eq!(found(&[(1, &[1]), (1, &[1])]), [Violation::RepeatedFrom, Violation::RepeatedPair]);
        assert_eq!(found(&[(1, &[3, 2, 3])]), [Violation::RepeatedPair]);
    }

    #[test]
    fn a_label_request_may_name_a_record_often_but_not_the_same_thing_twice() {
        let label = Label { category: LabelCategory::Work, type_id: 1 };
        let input = |to| Input { from: 1, to: vec![to], labels: vec![label] };
        let caps = Caps::default();
        assert_eq!(violations(Kind::LabelsArchive, &[input(1), input(2)], &caps), []);
        assert_eq!(violations(Kind::LabelsArchive, &[input(1), input(1)], &caps), [Violation::RepeatedPair]);
        let many: Vec<_> = (1..=101).map(input).collect();
        assert_eq!(violations(Kind::LabelsArchive, &many, &caps), [Violation::TooManyFrom]);
        assert_eq!(violations(Kind::Create, &many, &caps), []);
        let unlabelled = [Input { labels: Vec::new(), ..input(1) }];
        assert_eq!(violations(Kind::LabelsArchive, &unlabelled, &caps), [Violation::EmptyTypes]);
        assert_eq!(violations(Kind::Create, &unlabelled, &caps), [Violation::EmptyTypes]);
        assert_eq!(violations(Kind::AssociateDefault, &unlabelled, &caps), []);
        assert_eq!(violations(Kind::Create, &[input(1), input(1)], &caps), [Violation::RepeatedPair]);
    }

    #[test]
    fn a_read_names_each_record_once_and_has_a_cap_of_its_own() {
        let input = |from| ReadInput { from: Ok(from), after: None };
        let caps = Caps { read_inputs: 2, ..Caps::default() };
        assert_eq!(read_violations(&[input(1), input(2)], &caps), []);
        assert_eq!(read_violations(&[], &caps), [Violation::EmptyInputs]);
        let broken = [Violation::TooManyFrom, Violation::RepeatedFrom];
        assert_eq!(read_violations(&[input(1), input(2), input(1)], &caps), broken);
    }
}
