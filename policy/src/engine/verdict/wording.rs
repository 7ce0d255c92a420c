//! How one reply is put into refusals.

use std::sync::Arc;

use crate::contract::refusal::{Refusal, WorkerCategory};
use crate::engine::reply::{Answer, Silence};
use crate::engine::verdict::asked::Asked;
use crate::engine::verdict::body::{Charge, Fault};

/// What all refusals that come of one answer have in common.
pub(super) struct Wording<'a> {
    http_status: u16,
    correlation_id: Option<&'a str>,
}

impl<'a> Wording<'a> {
    /// The body's own name for the request goes before the header's.
    pub(super) fn of(answer: &'a Answer, fault: Option<Fault<'a>>) -> Self {
        let in_body = fault.and_then(Fault::correlation_id);
        Self { http_status: answer.status, correlation_id: in_body.or(answer.headers.correlation_id.as_deref()) }
    }

    /// HubSpot refuses the records of a charge, or the request if it names none.
    pub(super) fn refused(&self, charge: &Charge<'_>) -> Arc<Refusal> {
        let unsaid = || format!("HubSpot answered {} without a reason.", self.http_status);
        let message = charge.message.map_or_else(unsaid, str::to_owned);
        let category = charge.category.unwrap_or(Refusal::NO_CATEGORY);
        let refusal = Refusal::hubspot(category, &message, self.http_status);
        Arc::new(refusal.with_sub_category(charge.sub_category).with_correlation_id(self.correlation_id))
    }

    /// HubSpot refuses the lane in the words of the whole body.
    pub(super) fn refused_in_words_of(&self, fault: Fault<'_>) -> Arc<Refusal> {
        let (whole, _) = fault.charges(0);
        self.refused(&whole)
    }

    /// HubSpot refuses something and says nothing that can be read.
    pub(super) fn refused_without_words(&self) -> Arc<Refusal> {
        self.refused(&Charge::default())
    }

    /// HubSpot reports more errors than it describes.
    pub(super) fn refused_without_description(&self) -> Arc<Refusal> {
        let message = "HubSpot counted more errors in the batch than it described.";
        let refusal = Refusal::hubspot(Refusal::NO_CATEGORY, message, self.http_status);
        Arc::new(refusal.with_correlation_id(self.correlation_id))
    }

    /// HubSpot canceled a creation and says nothing else.
    pub(super) fn creation_canceled(&self) -> Arc<Refusal> {
        let message = "HubSpot canceled the creation, as it does where it does not know an association type.";
        let refusal = Refusal::hubspot(Refusal::NO_CATEGORY, message, self.http_status);
        Arc::new(refusal.with_correlation_id(self.correlation_id))
    }

    /// What to say when the tries end here.
    pub(super) fn exhausted(&self, message: Option<&str>) -> Arc<Refusal> {
        self.worker(WorkerCategory::RetriesExhausted, message)
    }

    /// What to say when the wait for the account's operator ends here.
    pub(super) fn account_refused(&self, message: Option<&str>) -> Arc<Refusal> {
        self.worker(WorkerCategory::AccountRefused, message)
    }

    /// What to say when the wait for somebody who mends the proxy's credentials ends here.
    pub(super) fn refused_by_proxy(&self) -> Arc<Refusal> {
        let status = self.http_status;
        let text = format!(
            "A proxy on the way to HubSpot answered {status}: it wants a user name and a password, or refuses those it \
             was given. Correct them in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or name HubSpot's host in NO_PROXY."
        );
        Arc::new(Refusal::worker(WorkerCategory::AccountRefused, &text).with_http_status(status))
    }

    fn worker(&self, category: WorkerCategory, message: Option<&str>) -> Arc<Refusal> {
        let status = self.http_status;
        let text = match message {
            Some(message) => format!("HubSpot answered {status}: {message}"),
            None => format!("HubSpot answered {status}."),
        };
        let refusal = Refusal::worker(category, &text).with_http_status(status);
        Arc::new(refusal.with_correlation_id(self.correlation_id))
    }
}

/// What to say when the tries end without an answer.
pub(super) fn unanswered(silence: &Silence, asked: Asked<'_>) -> Arc<Refusal> {
    let unknown = asked.unknown();
    let text = match silence {
        Silence::Refused(reason) => format!("No connection to HubSpot could be made: {reason}"),
        Silence::Tls(reason) => format!("The connection to HubSpot is not trusted: {reason}"),
        Silence::TimedOut => format!("HubSpot did not answer in time; {unknown}."),
        Silence::Reset => format!("The connection broke before HubSpot's answer; {unknown}."),
    };
    Arc::new(Refusal::worker(WorkerCategory::RetriesExhausted, &text))
}
