//! Jobs as a producer writes them.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::message::Message;

/// A job of this id that archives nothing yet: contacts to companies, without portal.
pub fn job(id: &str) -> Job {
    Job {
        id: id.to_owned(),
        from_type: "contacts".into(),
        to_type: "companies".into(),
        inputs: vec![],
        fields: Map::new(),
    }
}

/// Becomes JSON or a message; nothing is checked, so that wrong jobs can be written too.
#[derive(Clone, Debug)]
pub struct Job {
    id: String,
    from_type: String,
    to_type: String,
    inputs: Vec<Value>,
    fields: Map<String, Value>,
}

impl Job {
    #[must_use]
    pub fn portal(self, portal_id: u64) -> Self {
        self.field("portalId", portal_id)
    }

    /// Object types, as they shall stand in the job.
    #[must_use]
    pub fn types(mut self, from: &str, to: &str) -> Self {
        (self.from_type, self.to_type) = (from.to_owned(), to.to_owned());
        self
    }

    /// Adds one input with one pair.
    #[must_use]
    pub fn pair(self, from: u64, to: u64) -> Self {
        self.pairs([(from, to)])
    }

    /// Adds pairs (from, to); neighbours with the same `from` share an input.
    #[must_use]
    pub fn pairs(mut self, pairs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut inputs: Vec<(u64, Vec<Value>)> = Vec::new();
        for (from, to) in pairs {
            let to = json!({ "id": to.to_string() });
            match inputs.last_mut() {
                Some((last, targets)) if *last == from => targets.push(to),
                Some(_) | None => inputs.push((from, vec![to])),
            }
        }
        let inputs = inputs.into_iter().map(|(from, to)| json!({ "from": { "id": from.to_string() }, "to": to }));
        self.inputs.extend(inputs);
        self
    }

    /// Adds an input that removes only these user-defined labels from one pair.
    #[must_use]
    pub fn labels(mut self, from: u64, to: u64, type_ids: &[u64]) -> Self {
        let labels =
            type_ids.iter().map(|id| json!({ "associationCategory": "USER_DEFINED", "associationTypeId": id }));
        self.inputs.push(json!({
            "from": { "id": from.to_string() },
            "to": [{ "id": to.to_string() }],
            "types": labels.collect::<Vec<_>>(),
        }));
        self
    }

    /// Adds an input word for word.
    #[must_use]
    pub fn input(mut self, input: Value) -> Self {
        self.inputs.push(input);
        self
    }

    /// The time after which it must not be sent, RFC 3339.
    #[must_use]
    pub fn not_after(self, time: &str) -> Self {
        self.field("notAfter", time)
    }

    /// Sets any top-level field, known or not; `null` is written as `null`.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert("jobId".into(), self.id.clone().into());
        body.insert("fromObjectType".into(), self.from_type.clone().into());
        body.insert("toObjectType".into(), self.to_type.clone().into());
        body.insert("inputs".into(), self.inputs.clone().into());
        body.extend(self.fields.clone());
        Value::Object(body)
    }

    /// The job as a persistent message whose `message_id` is the job id.
    pub fn to_message(&self) -> Result<Message> {
        Message::json(&self.to_json()).id(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_pairs_of_one_from_share_an_input() {
        let body = job("j").portal(7).pairs([(1, 10), (1, 11), (2, 10)]).to_json();
        let expected = json!({
            "jobId": "j", "portalId": 7, "fromObjectType": "contacts", "toObjectType": "companies",
            "inputs": [
                { "from": { "id": "1" }, "to": [{ "id": "10" }, { "id": "11" }] },
                { "from": { "id": "2" }, "to": [{ "id": "10" }] },
            ],
        });
        assert_eq!(body, expected);
    }
}
