//! A dead letter, as far as it can be told what it is.

use jiff::Timestamp;

use crate::amqp::browser::Found;
use crate::amqp::message::Properties;
use crate::contract::grouped::Grouped;
use crate::contract::ids::{Group, JobId, PortalId};
use crate::contract::job::{self, JobLimits, JobProperties};
use crate::contract::message::{REDRIVEN, REJECT_CATEGORY, REJECT_MESSAGE, REJECTED_AT};
use crate::contract::object_type::TypeText;
use crate::contract::time;
use crate::worker::delivery::letters_expiry;

#[derive(Clone, Debug)]
pub struct Letter {
    /// The job id, else the message's. The page and `top` show the same.
    pub id: Option<String>,
    /// `message_id`, else `correlation_id`.
    pub message_id: Option<String>,
    /// The worker's category; for a job that the broker delivered too often, the broker's word, such as
    /// `delivery_limit`.
    pub reason: Option<String>,
    pub message: Option<String>,
    pub portal: Option<PortalId>,
    pub group: Option<Group>,
    pub from_type: Option<TypeText>,
    pub to_type: Option<TypeText>,
    pub rejected_at: Option<Timestamp>,
    /// How often it was put back on the jobs queue.
    pub redriven: u64,
    /// By when the job must have been sent; `None` also where it is no job.
    pub deadline: Option<Timestamp>,
}

/// The broker's own note on why a message was dead-lettered.
const BROKERS_REASON: &str = "x-last-death-reason";
const BROKERS_FIRST_REASON: &str = "x-first-death-reason";

impl Letter {
    pub fn of(found: &Found, limits: &JobLimits) -> Self {
        let properties = &found.properties;
        let envelope =
            JobProperties { message_id: properties.message_id(), content_encoding: properties.content_encoding() };
        let mut deadline = None;
        let (job_id, portal, group, from_type, to_type) = match job::parse(&found.body, envelope, limits) {
            Ok(job) => {
                let by_message = letters_expiry(properties, Timestamp::now()).map(|expiry| expiry.at);
                deadline = job.not_after.into_iter().chain(by_message).min();
                let types = (Some(job.from_type.text().clone()), Some(job.to_type.text().clone()));
                (Some(job.id), job.portal, job.group, types.0, types.1)
            }
            Err(malformed) => {
                (malformed.job_id, malformed.portal, malformed.group, malformed.from_type, malformed.to_type)
            }
        };
        let text = |name: &str| properties.text_header(name).map(|text| text.into_owned());
        let message_id = properties.message_id().or_else(|| properties.correlation_id()).map(str::to_owned);
        Self {
            id: job_id.as_ref().map(JobId::to_string).or_else(|| message_id.clone()),
            message_id,
            reason: text(REJECT_CATEGORY).or_else(|| text(BROKERS_REASON)).or_else(|| text(BROKERS_FIRST_REASON)),
            message: text(REJECT_MESSAGE),
            portal,
            group,
            from_type,
            to_type,
            rejected_at: rejected_at(properties),
            redriven: redriven(properties),
            deadline,
        }
    }

    /// Whoever redrives it now has it answered `EXPIRED`.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Timestamp::now())
    }

    /// `contacts/companies`, as the job wrote it.
    pub fn lane(&self) -> Option<String> {
        let (from, to) = self.from_type.as_ref().zip(self.to_type.as_ref())?;
        Some(format!("{}/{}", from.as_str(), to.as_str()))
    }
}

/// What a person must know before letters that are late are put back; a sentence without its end.
pub fn told_late(late: u64) -> String {
    let (are, their) = if late == 1 { ("is", "its") } else { ("are", "their") };
    format!("{} of them {are} past {their} deadline (notAfter, or the property expiration) and", Grouped(late))
}

/// What is no count counts as none.
pub fn redriven(properties: &Properties) -> u64 {
    properties.integer_header(REDRIVEN).and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

fn rejected_at(properties: &Properties) -> Option<Timestamp> {
    let by_worker = properties.text_header(REJECTED_AT).and_then(|text| time::parse(&text));
    let by_broker = || Timestamp::from_second(properties.last_death()?.seconds).ok();
    by_worker.or_else(by_broker)
}
