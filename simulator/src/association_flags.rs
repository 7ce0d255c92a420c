//! Flags about the associations of the account.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hubspot_simulator::ObjectType;
use hubspot_simulator::association_settings::{AssociationSettings, LabelSetting};
use hubspot_simulator::behaviour::{Creates, IdForm, Order, Reads, SecondPrimary, UnknownType};
use hubspot_simulator::duration::parse as parse_duration;
use hubspot_simulator::other_app::OtherApp;
use hubspot_simulator::seed::Seed;
use hubspot_simulator::settings::{AccountSettings, ExistingSetting, Settings};

#[derive(Args, Debug)]
#[command(next_help_heading = "Associations")]
pub struct AssociationFlags {
    /// What there is before anything was created
    #[arg(long, value_name = "WHAT", default_value = "everything")]
    existing: ExistingSetting,

    /// Associations that there are, each record of the one with each of the other, and no others; IDS is one, as 7, or a
    /// range, as 1-1000; may be given often
    #[arg(long = "associate", value_name = "TYPE:IDS=TYPE:IDS")]
    associate: Vec<Seed>,

    /// A label of users as JSON, with its numbers in both directions, such as
    /// {"from":"contacts","to":"companies","typeId":37,"label":"Manager","inverseLabel":"Managed by"};
    /// may be given often
    #[arg(long = "label", value_name = "JSON", value_parser = label)]
    labels: Vec<LabelSetting>,

    /// A record that was deleted; may be given often
    #[arg(long = "missing", value_name = "TYPE:ID", value_parser = record)]
    missing: Vec<(ObjectType, u64)>,

    /// What is done from A to B is not done from B to A; --associate too makes the direction it names
    #[arg(long)]
    one_way: bool,

    /// For how long reads still show what was removed
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    read_lag: Option<Duration>,

    /// Associated records in one answer to a read
    #[arg(long, value_name = "N", default_value = "500")]
    read_page: NonZeroUsize,

    /// How reads write the ids of associated records
    #[arg(long, value_name = "FORM", default_value = "numbers")]
    read_ids: Ids,

    /// Give results, records and types of a read always in the same order
    #[arg(long)]
    read_sorted: bool,

    /// Another app makes again what was archived, after this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    recreate_after: Option<Duration>,

    /// How often it makes one association again; without this, always
    #[arg(long, value_name = "N", requires = "recreate_after")]
    recreate_times: Option<u32>,

    /// Answer to the creation of a type that is not defined
    #[arg(long, value_name = "ANSWER", default_value = "partial")]
    unknown_type: UnknownType,

    /// What becomes of a Primary label for a record that has one elsewhere
    #[arg(long, value_name = "WHAT", default_value = "moves")]
    second_primary: SecondPrimary,

    /// Records of a read; more are answered 400
    #[arg(long, value_name = "N", default_value = "1000")]
    max_read: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Ids {
    Numbers,
    Strings,
}

impl AssociationFlags {
    pub fn settings(self, settings: Settings) -> Settings {
        let mut missing: BTreeMap<ObjectType, BTreeSet<u64>> = BTreeMap::new();
        for (object_type, id) in self.missing {
            missing.entry(object_type).or_default().insert(id);
        }
        let other_app = |after| OtherApp { after, times: self.recreate_times, records: None };
        let associations = AssociationSettings {
            one_way: Some(self.one_way),
            read_lag: self.read_lag,
            labels: Some(self.labels),
            create: self.associate,
            missing: Some(missing),
            other_app: self.recreate_after.map(other_app),
        };
        Settings {
            max_read: Some(self.max_read),
            reads: Some(Reads {
                page: self.read_page,
                ids: match self.read_ids {
                    Ids::Numbers => IdForm::Numbers,
                    Ids::Strings => IdForm::Strings,
                },
                order: if self.read_sorted { Order::Sorted } else { Order::Shuffled },
            }),
            creates: Some(Creates { unknown_type: self.unknown_type, second_primary: self.second_primary }),
            every_account: AccountSettings { existing: Some(self.existing), associations, ..settings.every_account },
            ..settings
        }
    }
}

fn label(text: &str) -> Result<LabelSetting, String> {
    serde_json::from_str(text).map_err(|error| format!("no label: {error}"))
}

fn record(text: &str) -> Result<(ObjectType, u64), String> {
    let wrong = || "write TYPE:ID, as in contacts:5".to_owned();
    let (object_type, id) = text.split_once(':').ok_or_else(wrong)?;
    Ok((ObjectType::try_from(object_type.to_owned())?, id.parse().map_err(|_| wrong())?))
}
