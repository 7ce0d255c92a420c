//! What a column of a file of jobs can fill in a job.

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    FromType,
    FromId,
    ToType,
    ToId,
    JobId,
    PortalId,
    Types,
    NotAfter,
    Action,
    DryRun,
    Group,
}

impl Field {
    pub const ALL: [Self; 11] = [
        Self::FromType,
        Self::FromId,
        Self::ToType,
        Self::ToId,
        Self::JobId,
        Self::PortalId,
        Self::Types,
        Self::NotAfter,
        Self::Action,
        Self::DryRun,
        Self::Group,
    ];

    /// The column's own name.
    pub fn name(self) -> &'static str {
        match self {
            Self::FromType => "from_object_type",
            Self::FromId => "from_id",
            Self::ToType => "to_object_type",
            Self::ToId => "to_id",
            Self::JobId => "job_id",
            Self::PortalId => "portal_id",
            Self::Types => "types",
            Self::NotAfter => "not_after",
            Self::Action => "action",
            Self::DryRun => "dry_run",
            Self::Group => "group",
        }
    }

    /// What a cell may hold.
    pub fn example(self) -> &'static str {
        match self {
            Self::FromType => "contacts",
            Self::FromId => "101",
            Self::ToType => "companies",
            Self::ToId => "9001; 9002",
            Self::JobId => "import-7-row-1",
            Self::PortalId => "4711",
            Self::Types => "USER_DEFINED 37; USER_DEFINED 38",
            Self::NotAfter => "2026-12-31T18:00:00Z",
            Self::Action => "restore",
            Self::DryRun => "true",
            Self::Group => "import-7",
        }
    }

    /// The place in a job that the column fills, as a refusal names it.
    pub fn place(self) -> &'static str {
        match self {
            Self::FromType => "fromObjectType",
            Self::FromId => "inputs[0].from.id",
            Self::ToType => "toObjectType",
            Self::ToId => "inputs[0].to",
            Self::JobId => "jobId",
            Self::PortalId => "portalId",
            Self::Types => "inputs[0].types",
            Self::NotAfter => "notAfter",
            Self::Action => "action",
            Self::DryRun => "dryRun",
            Self::Group => "group",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name().eq_ignore_ascii_case(name))
    }

    /// Whether a property of somebody's records may well have the same name: an export of HubSpot may have it too, and
    /// then it says nothing of a job.
    pub fn is_everyday_word(self) -> bool {
        match self {
            Self::Action | Self::Group => true,
            Self::FromType
            | Self::FromId
            | Self::ToType
            | Self::ToId
            | Self::JobId
            | Self::PortalId
            | Self::Types
            | Self::NotAfter
            | Self::DryRun => false,
        }
    }

    /// All names, for messages.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}
