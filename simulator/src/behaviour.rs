//! How this HubSpot behaves where the real one drifts, differs by endpoint, or is not known.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;

/// Switches that hold for every account.
#[derive(Clone, Debug)]
pub struct Behaviour {
    pub success: Success,
    pub not_associated: NotAssociated,
    pub caps: Caps,
    /// Time from the arrival of a request to its answer.
    pub latency: Duration,
    /// Up to this much more, drawn evenly.
    pub jitter: Duration,
    /// `from` types, `to` types and records appear in `context` in this shape.
    pub context: ContextShape,
    pub reads: Reads,
    pub creates: Creates,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            success: Success::NoContent,
            not_associated: NotAssociated::Silent,
            caps: Caps::default(),
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            context: ContextShape::default(),
            reads: Reads::default(),
            creates: Creates::default(),
        }
    }
}

/// How `batch/read` answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Reads {
    /// Associated records of one input in one answer; there are more behind `after`. HubSpot publishes no figure.
    pub page: NonZeroUsize,
    /// How `toObjectId` is written: numbers on the wire, strings in HubSpot's own description. `batch/create` answers
    /// in the same form.
    pub ids: IdForm,
    pub order: Order,
}

impl Default for Reads {
    fn default() -> Self {
        Self { page: const { NonZeroUsize::new(500).unwrap() }, ids: IdForm::Numbers, order: Order::Shuffled }
    }
}

/// In which order results, associated records and their types come.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// In another one each time, as HubSpot does.
    #[default]
    Shuffled,
    /// As asked for, and by number.
    Sorted,
}

/// How `batch/create` deals with what it cannot do.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Creates {
    pub unknown_type: UnknownType,
    pub second_primary: SecondPrimary,
}

/// The answer to a type that is not defined between the two object types.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownType {
    /// 207, with an error `INVALID_ASSOCIATION_TYPE` for the pair
    #[default]
    Partial,
    /// 400 `INVALID_ASSOCIATION_TYPE`, and nothing is created
    Refused,
    /// 201 with the status `CANCELED` and no results, and nothing is created
    Canceled,
}

/// What becomes of a Primary label for a record that has one elsewhere.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SecondPrimary {
    /// It moves: the pair that had it keeps its other types
    #[default]
    Moves,
    /// 207, with an error for the pair
    Refused,
}

/// The answer to an archive request all of whose pairs were archived; it has changed more than once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "u16")]
pub enum Success {
    /// 204, no body.
    NoContent,
    /// 200 with a body.
    Ok,
    /// 207 with a body.
    MultiStatus,
}

impl TryFrom<u16> for Success {
    type Error = String;

    fn try_from(status: u16) -> Result<Self, String> {
        match status {
            204 => Ok(Self::NoContent),
            200 => Ok(Self::Ok),
            207 => Ok(Self::MultiStatus),
            _ => Err(format!("{status} is no form of success: write 204, 200 or 207")),
        }
    }
}

/// What is said about a pair that was not associated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotAssociated {
    /// Nothing: success.
    Silent,
    /// 207 with `crm.associations.NO_ASSOCIATIONS_FOUND`.
    Reported,
}

/// What fits in one request.
#[derive(Clone, Debug)]
pub struct Caps {
    /// Unique `from` records of an archive request; more are answered 400.
    pub from: usize,
    /// Inputs of a label request; more are answered 400.
    pub label_inputs: usize,
    /// Records of a `batch/read`; more are answered 400.
    pub read_inputs: usize,
    /// Inputs of a `batch/create` or `batch/associate/default`; more are answered 400.
    pub create_inputs: usize,
    /// Pairs of an archive request; more are answered 413. HubSpot publishes no figure.
    pub pairs: Option<usize>,
    pub repeats: Repeats,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            from: 100,
            label_inputs: 100,
            read_inputs: 1000,
            create_inputs: 2000,
            pairs: None,
            repeats: Repeats::Refused,
        }
    }
}

/// What happens to a body that lists a `from` or a pair twice. Either way it is noted as a violation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeats {
    Refused,
    Accepted,
}

/// How an error's `context` names what it is about.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ContextShape {
    pub names: Names,
    pub ids: IdForm,
    pub types: TypeForm,
    pub form: ContextForm,
}

/// Which records of a pair are named.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// `fromObjectId` and `toObjectId`, an error a pair.
    #[default]
    FromAndTo,
    /// `fromObjectId` alone, an error a record: the only shape seen in HubSpot's own examples.
    FromOnly,
}

/// How ids are written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdForm {
    #[default]
    Strings,
    Numbers,
}

/// How object types are written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TypeForm {
    #[default]
    Singular,
    /// As in the path of the request.
    AsWritten,
}

/// The JSON type of `context`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextForm {
    /// A map from strings to lists.
    #[default]
    Map,
    /// The same as one string.
    Text,
}
