//! All settings, and the rules that hold between sections.

use std::path::Path;

use super::layers::Merged;
use super::section::Section;
use super::{
    AdminSettings, AmqpSettings, BackgroundSettings, BatchSettings, HubspotSettings, IsolationSettings, JobsSettings,
    JournalStore, Layers, LogSettings, RateLimit, RetrySettings, SafetySettings, SettingKey, SettingsError,
    ShutdownSettings, TelemetrySettings,
};
use crate::contract::as_set::AsSet;

/// What the process was told, checked; each part of the program gets its own section and no more.
///
/// Loading opens no file but the settings themselves. Files that hold secrets or certificates are read by whoever
/// needs them ([`AmqpSettings::broker`], [`HubspotSettings::accounts`], [`AdminSettings::token`]), so that a command
/// which needs no HubSpot token runs where none is mounted.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub amqp: AmqpSettings,
    pub background: BackgroundSettings,
    pub hubspot: HubspotSettings,
    pub batch: BatchSettings,
    /// The ceiling of every account that sets none of its own; [`super::AccountSettings::rate_limit`] has the result.
    pub rate_limit: RateLimit,
    pub retry: RetrySettings,
    /// What holds for every account that sets nothing of its own; [`super::AccountSettings::safety`] has the result.
    pub safety: SafetySettings,
    pub isolation: IsolationSettings,
    pub jobs: JobsSettings,
    pub shutdown: ShutdownSettings,
    pub admin: AdminSettings,
    pub log: LogSettings,
    pub telemetry: TelemetrySettings,
    /// A warning about variables that were perhaps meant to be settings.
    pub unread_variables: Option<String>,
}

impl Settings {
    /// Reads built-in defaults, `config/default.toml` under the working directory if it is there, `file` (from
    /// `--config`) and the environment of this process; later ones win.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        Self::from_layers(&Layers::of_this_process(file))
    }

    /// Reads the settings from layers that the caller gives.
    pub fn from_layers(layers: &Layers) -> Result<Self, SettingsError> {
        let Merged { settings, written, unread_variables } = layers.merged()?;
        let settings = Self::read(Section::root(settings)).map_err(|error| written.placed(error))?;
        Ok(Self { unread_variables, ..settings })
    }

    /// The journals of all accounts, each once; of the worker as a whole where no account is listed.
    pub fn journals(&self) -> Vec<JournalStore> {
        let mut stores: Vec<JournalStore> = Vec::new();
        let listed = self.hubspot.listed();
        let of_all = listed.is_empty().then_some(&self.safety);
        for safety in listed.iter().map(|account| &account.safety).chain(of_all) {
            if safety.journal.is_on() && !stores.contains(&safety.journal) {
                stores.push(safety.journal.clone());
            }
        }
        stores
    }

    fn read(mut root: Section) -> Result<Self, SettingsError> {
        let rate_limit = RateLimit::read(root.section("rate_limit")?, &RateLimit::default())?;
        let safety = SafetySettings::read(root.section("safety")?, &SafetySettings::default())?;
        let mut settings = Self {
            amqp: AmqpSettings::read(root.section("amqp")?)?,
            background: BackgroundSettings::read(root.section("background")?)?,
            hubspot: HubspotSettings::read(root.section("hubspot")?, &rate_limit, &safety)?,
            batch: BatchSettings::read(root.section("batch")?)?,
            rate_limit,
            retry: RetrySettings::read(root.section("retry")?)?,
            safety,
            isolation: IsolationSettings::read(root.section("isolation")?)?,
            jobs: JobsSettings::read(root.section("jobs")?)?,
            shutdown: ShutdownSettings::read(root.section("shutdown")?)?,
            admin: AdminSettings::read(root.section("admin")?)?,
            log: LogSettings::read(root.section("log")?)?,
            telemetry: TelemetrySettings::read(root.section("telemetry")?)?,
            unread_variables: None,
        };
        root.finish()?;
        settings.agree()?;
        settings.amqp.spread(settings.hubspot.portals())?;
        if let Err(cause) = settings.amqp.background() {
            settings.background.without_queue(cause)?;
        }
        Ok(settings)
    }

    fn agree(&self) -> Result<(), SettingsError> {
        if self.amqp.max_hold <= self.hubspot.request_timeout {
            return Err(SettingKey::new("amqp.max_hold").refused(format!(
                "is {}, but must be longer than hubspot.request_timeout ({}): a job is held at least while its request runs; raise the one or lower the other",
                AsSet(self.amqp.max_hold),
                AsSet(self.hubspot.request_timeout)
            )).beside("hubspot.request_timeout"));
        }
        if self.amqp.max_hold <= self.batch.linger {
            return Err(SettingKey::new("batch.linger")
                .refused(format!(
                    "is {}, but must be shorter than amqp.max_hold ({})",
                    AsSet(self.batch.linger),
                    AsSet(self.amqp.max_hold)
                ))
                .beside("amqp.max_hold"));
        }
        if self.amqp.max_held_bytes < self.jobs.max_bytes {
            return Err(SettingKey::new("amqp.max_held_bytes")
                .refused(format!(
                    "is {} bytes, but must be at least jobs.max_bytes ({} bytes), else one job could not be held",
                    self.amqp.max_held_bytes, self.jobs.max_bytes
                ))
                .beside("jobs.max_bytes"));
        }
        self.safety.agree("safety", &self.amqp)?;
        let mut of_accounts = self.hubspot.listed().iter().enumerate();
        of_accounts.try_for_each(|(index, account)| {
            account.safety.agree(&format!("hubspot.accounts[{index}].safety"), &self.amqp)
        })
    }
}
