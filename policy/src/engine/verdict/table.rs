//! The table of answers: what each HTTP status means, and where the body has the last word.

use std::sync::Arc;

use crate::contract::association::Pair;
use crate::contract::refusal::Refusal;
use crate::contract::text::{TEXT_MAX_BYTES, cut};
use crate::engine::reply::{Answer, Reply, Silence};
use crate::engine::verdict::asked::{Asked, Shown};
use crate::engine::verdict::attribution::{judge_partial, judge_passing, judge_refused, refuse_request, says_nothing};
use crate::engine::verdict::body::{Content, Fault, ReplyObject, State};
use crate::engine::verdict::wording::{Wording, unanswered};
use crate::engine::verdict::{
    AccountPause, AccountPauseKind, Again, Judgement, LanePause, LanePauseKind, Policy, Throttled, Transient,
};

/// The start of the one message that stands for a category: HubSpot gives none where a type does not exist.
const NO_SUCH_TYPE: &str = "Unable to infer object type from:";
/// What the message of a 429 says of its limit where `policyName` does not, as in "You have reached your daily limit.".
const LIMITS_IN_WORDS: [(&str, Policy); 3] = [
    ("ten_secondly_rolling limit", Policy::TenSecondly),
    ("secondly limit", Policy::Secondly),
    ("daily limit", Policy::Daily),
];

/// Judges the reply to an archive request that carried `pairs`, which are distinct and at least one.
///
/// Total: every status, every header and every body has a judgement.
pub fn judge(reply: &Reply, pairs: &[Pair]) -> Judgement {
    judge_asked(reply, Asked::Archive(pairs), |_| Shown::Unsaid)
}

/// Judges any reply; `shown` reads the results of a batch that was worked through.
pub(super) fn judge_asked(reply: &Reply, asked: Asked<'_>, shown: impl FnOnce(&ReplyObject<'_>) -> Shown) -> Judgement {
    match reply {
        Reply::Silence(silence) => judge_silence(silence, asked),
        Reply::Answer(answer) => {
            let content = Content::read(&answer.body);
            let fault = match &content {
                Content::Object(object) => Some(object.fault()),
                Content::Nothing | Content::TooLarge | Content::Unreadable => None,
            };
            let wording = Wording::of(answer, fault);
            Case { answer, content: &content, fault, wording, asked }.judge(shown)
        }
    }
}

fn judge_silence(silence: &Silence, asked: Asked<'_>) -> Judgement {
    let cause = match silence {
        Silence::Refused(_) => Transient::Unreachable,
        Silence::Tls(_) => Transient::Tls,
        Silence::TimedOut => Transient::TimedOut,
        Silence::Reset => Transient::Reset,
    };
    Judgement::Again(Again { cause, retry_after: None, refusal: unanswered(silence, asked) })
}

/// An answer with what was read of it.
struct Case<'a> {
    answer: &'a Answer,
    content: &'a Content<'a>,
    /// The body as one error.
    fault: Option<Fault<'a>>,
    wording: Wording<'a>,
    asked: Asked<'a>,
}

impl Case<'_> {
    fn judge(&self, shown: impl FnOnce(&ReplyObject<'_>) -> Shown) -> Judgement {
        match self.answer.status {
            200..=299 => self.success(shown),
            300..=399 => self.pause_lane(LanePauseKind::Redirected),
            401 => self.token_refused(),
            403 => self.forbidden(),
            404 => self.not_found(),
            405 => self.pause_lane(LanePauseKind::MethodNotAllowed),
            // HubSpot is no proxy: this is the word of one on the way.
            407 => self.pause_account(AccountPauseKind::ProxyRefused),
            415 => self.pause_lane(LanePauseKind::UnsupportedMedia),
            408 | 409 | 425 => self.again(Transient::NotNow),
            413 | 414 => self.again(Transient::TooLarge),
            423 => self.again(Transient::Locked),
            429 => self.throttled(),
            477 => self.pause_account(AccountPauseKind::Moving(self.answer.headers.retry_after)),
            400..=499 => self.refused(),
            504 | 524 => self.again(Transient::TimedOut),
            522 | 525 | 526 => self.again(Transient::EdgeConnection),
            500..=599 => self.again(Transient::ServerError),
            0..=199 | 600.. => self.again(Transient::Garbage),
        }
    }

    /// 2xx: the code has changed between releases of HubSpot's API, so the body decides.
    fn success(&self, shown: impl FnOnce(&ReplyObject<'_>) -> Shown) -> Judgement {
        match self.content {
            Content::Nothing => match self.asked {
                Asked::Archive(_) => Judgement::Archived,
                // Only the body can say whether it was done.
                Asked::Look(_) | Asked::Create(_) => self.says_nothing(),
            },
            Content::TooLarge => self.again(Transient::AnswerTooLarge),
            Content::Unreadable => self.again(Transient::Garbage),
            Content::Object(object) => match object.state() {
                State::Done => match shown(object) {
                    Shown::Unreadable => self.says_nothing(),
                    shown @ (Shown::Unsaid | Shown::Each(_)) => {
                        judge_partial(object, self.asked, &shown, &self.wording)
                    }
                },
                State::Canceled => match self.asked {
                    Asked::Archive(_) | Asked::Look(_) => self.again(Transient::Unfinished),
                    Asked::Create(_) => self.creation_canceled(object),
                },
                State::Unfinished => self.again(Transient::Unfinished),
                State::Unknown => self.again(Transient::Garbage),
                State::Failed => self.failed_success(object),
            },
        }
    }

    /// HubSpot answers a creation in this way where it does not know one of the association types.
    fn creation_canceled(&self, object: &ReplyObject<'_>) -> Judgement {
        match object.errors().next() {
            Some(_) => judge_refused(object.fault(), self.asked, &self.wording),
            None => refuse_request(self.asked, self.wording.creation_canceled()),
        }
    }

    fn says_nothing(&self) -> Judgement {
        Judgement::Again(says_nothing(self.asked, &self.wording, Transient::Garbage))
    }

    /// An error's body with the status of a success: its category stands for the status it ought to have.
    fn failed_success(&self, object: &ReplyObject<'_>) -> Judgement {
        match object.fault().category() {
            Some("CONFLICT") => self.again(Transient::NotNow),
            Some("INTERNAL_ERROR") => self.again(Transient::ServerError),
            Some(_) | None => self.refused(),
        }
    }

    /// 400 and every 4xx without a row of its own: something in the request, unless the body knows better.
    fn refused(&self) -> Judgement {
        let Some(fault) = self.fault else {
            return refuse_request(self.asked, self.wording.refused_without_words());
        };
        match fault.category() {
            _ if fault.is_rate_limit() => self.throttled(),
            _ if self.has_too_many_inputs() => self.again(Transient::TooLarge),
            Some("EXPIRED_AUTHENTICATION" | "INVALID_AUTHENTICATION") => self.token_refused(),
            Some("MISSING_SCOPES") => self.forbidden(),
            None if self.no_such_type() => Judgement::LaneRefused(self.wording.refused_in_words_of(fault)),
            Some(_) | None => judge_refused(fault, self.asked, &self.wording),
        }
    }

    /// Whether the body says that the request has more inputs than are taken, and names a limit that it is above.
    /// HubSpot has no category for it, publishes no limit for some requests, and has lowered others.
    fn has_too_many_inputs(&self) -> bool {
        let message = self.message().unwrap_or_default().to_ascii_lowercase();
        let is_about = |words: &[&str]| words.iter().any(|word| message.contains(word));
        let mut numbers =
            message.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
        is_about(&["input", "batch"])
            && is_about(&["maximum", "at most", "no more than", "exceed", "too many", "limit"])
            && numbers.any(|limit: usize| (1..self.asked.len()).contains(&limit))
    }

    /// Whether a 400, or what ought to have been one, says that an object type does not exist.
    fn no_such_type(&self) -> bool {
        let may_be = matches!(self.answer.status, 200..=299 | 400);
        may_be && self.message().is_some_and(|message| message.starts_with(NO_SUCH_TYPE))
    }

    /// 404 is about the path, unless the body says which records were not found.
    fn not_found(&self) -> Judgement {
        match self.fault {
            Some(fault) if fault.is_about_records() => judge_refused(fault, self.asked, &self.wording),
            Some(_) | None => self.pause_lane(LanePauseKind::NotFound),
        }
    }

    fn forbidden(&self) -> Judgement {
        let scopes_missing = |fault: &Fault<'_>| fault.category() == Some("MISSING_SCOPES");
        let Some(fault) = self.fault.filter(scopes_missing) else {
            return self.pause_lane(LanePauseKind::Forbidden);
        };
        let scopes = fault.scopes(LanePauseKind::MAX_SCOPES);
        let scopes = scopes.into_iter().map(|scope| cut(scope, TEXT_MAX_BYTES).into()).collect();
        self.pause_lane(LanePauseKind::MissingScopes(scopes))
    }

    fn token_refused(&self) -> Judgement {
        self.pause_account(match self.fault.and_then(Fault::category) {
            Some("EXPIRED_AUTHENTICATION") => AccountPauseKind::TokenExpired,
            Some("INVALID_AUTHENTICATION") => AccountPauseKind::TokenInvalid,
            Some(_) | None => AccountPauseKind::TokenRefused,
        })
    }

    fn throttled(&self) -> Judgement {
        let policy = match self.fault.and_then(Fault::policy_name) {
            Some("TEN_SECONDLY_ROLLING") => Policy::TenSecondly,
            Some("SECONDLY") => Policy::Secondly,
            Some("DAILY") => Policy::Daily,
            Some(_) | None => self.policy_in_words(),
        };
        let retry_after = self.answer.headers.retry_after;
        Judgement::Throttled(Throttled { policy, retry_after, refusal: self.wording.exhausted(self.message()) })
    }

    /// The limit that the message names.
    fn policy_in_words(&self) -> Policy {
        let message = self.message().unwrap_or_default().to_ascii_lowercase();
        let named = LIMITS_IN_WORDS.iter().find(|(words, _)| message.contains(words));
        named.map_or(Policy::Unknown, |(_, policy)| *policy)
    }

    /// A failure that passes, of the whole request or of the records that the body names.
    fn again(&self, cause: Transient) -> Judgement {
        let retry_after = self.answer.headers.retry_after;
        let unread = match cause {
            Transient::Garbage => Some(format!("the answer cannot be read, so {}", self.asked.unknown())),
            Transient::AnswerTooLarge => {
                Some(format!("the answer is larger than is read, so {}", self.asked.unknown()))
            }
            Transient::Unfinished => Some("the batch was accepted but not completed".to_owned()),
            Transient::ServerError
            | Transient::EdgeConnection
            | Transient::TimedOut
            | Transient::NotNow
            | Transient::TooLarge
            | Transient::Locked
            | Transient::Unreachable
            | Transient::Tls
            | Transient::Reset => None,
        };
        let message = self.message().or(unread.as_deref());
        let again = Again { cause, retry_after, refusal: self.wording.exhausted(message) };
        match self.fault {
            Some(fault) => judge_passing(fault, self.asked, &self.wording, again),
            None => Judgement::Again(again),
        }
    }

    fn pause_lane(&self, kind: LanePauseKind) -> Judgement {
        Judgement::PauseLane(LanePause { kind, refusal: self.account_refused() })
    }

    fn pause_account(&self, kind: AccountPauseKind) -> Judgement {
        Judgement::PauseAccount(AccountPause { kind, refusal: self.account_refused() })
    }

    fn account_refused(&self) -> Arc<Refusal> {
        match self.answer.status {
            407 => self.wording.refused_by_proxy(),
            _ => self.wording.account_refused(self.message()),
        }
    }

    fn message(&self) -> Option<&str> {
        self.fault.and_then(Fault::message)
    }
}
