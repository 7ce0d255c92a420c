//! Which of the journal's pairs are meant.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::cli::{age, option_values};
use crate::contract::ids::PortalId;
use crate::contract::journal::{Entry, EntryPair, JobName};
use crate::contract::object_type::ObjectType;

/// All that are given must hold.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Selection {
    /// What this job asked for
    #[arg(long, value_name = "ID")]
    pub job_id: Option<String>,
    /// What the jobs of this group asked for
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// In this portal
    #[arg(long, value_name = "ID", value_parser = option_values::portal)]
    pub portal: Option<PortalId>,
    /// Removed from records of this type, as the jobs wrote it or by another name
    #[arg(long, value_name = "TYPE", value_parser = option_values::object_type)]
    pub from_type: Option<ObjectType>,
    /// To records of this type
    #[arg(long, value_name = "TYPE", value_parser = option_values::object_type)]
    pub to_type: Option<ObjectType>,
    /// Recorded then or later: a time, or how long ago, such as 1h or 2d
    #[arg(long, value_name = "TIME", value_parser = age::parse_since)]
    pub since: Option<Timestamp>,
    /// Recorded before that: a time, or how long ago
    #[arg(long, value_name = "TIME", value_parser = age::parse_since)]
    pub until: Option<Timestamp>,
}

/// Where the journal is.
#[derive(clap::Args, Clone, Debug)]
pub struct Place {
    /// Reads this file, and those beside it that it was before, instead of the journal that the settings name
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl Selection {
    /// Everything is meant.
    pub fn is_empty(&self) -> bool {
        let Self { job_id, group, portal, from_type, to_type, since, until } = self;
        let of_jobs = job_id.is_none() && group.is_none() && portal.is_none();
        of_jobs && from_type.is_none() && to_type.is_none() && since.is_none() && until.is_none()
    }

    /// Whether any pair of the entry may be meant.
    pub fn takes(&self, entry: &Entry) -> bool {
        let Self { job_id: _, group: _, portal, from_type, to_type, since, until } = self;
        portal.is_none_or(|portal| entry.portal == Some(portal))
            && from_type.as_ref().is_none_or(|wanted| *wanted == entry.from_type)
            && to_type.as_ref().is_none_or(|wanted| *wanted == entry.to_type)
            && since.is_none_or(|since| entry.at >= since)
            && until.is_none_or(|until| entry.at < until)
    }

    /// Whether a pair of such an entry is meant: where one of its jobs is.
    pub fn takes_pair(&self, entry: &Entry, pair: &EntryPair) -> bool {
        if self.job_id.is_none() && self.group.is_none() {
            return true;
        }
        let mut jobs = pair.jobs.iter().filter_map(|job| entry.jobs.get(*job as usize));
        jobs.any(|job| self.takes_job(job))
    }

    fn takes_job(&self, job: &JobName) -> bool {
        let group = job.group.as_ref().map(|group| group.as_str());
        self.job_id.as_deref().is_none_or(|wanted| wanted == job.id.as_str())
            && self.group.as_deref().is_none_or(|wanted| group == Some(wanted))
    }
}
