//! Reads the journal once, and keeps the changes that are meant, with what became of them. For an undo it also keeps
//! every later change of the same pairs.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use super::selection::{Place, Selection};
use super::unmet::Unmet;
use crate::cli::exit::Failure;
use crate::cli::output::remark;
use crate::config::{JournalStore, Settings};
use crate::contract::grouped::Grouped;
use crate::contract::journal::{ChangeKind, Completion, Entry, EntryId, EntryPair, Places, Record};
use crate::journal::reading::{ReadFault, Reader};

/// Pairs that are kept in memory at most, of some 70 bytes each.
const MAX_PAIRS: usize = 5_000_000;

/// Which changes are meant, of those that a selection takes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Meant {
    #[default]
    All,
    /// Those that are to be taken back; of their pairs, every later change is kept as well.
    OfKind(ChangeKind),
}

impl Meant {
    fn kind(self) -> Option<ChangeKind> {
        match self {
            Self::All => None,
            Self::OfKind(kind) => Some(kind),
        }
    }

    fn takes(self, kind: ChangeKind) -> bool {
        match self {
            Self::All => true,
            Self::OfKind(meant) => meant == kind,
        }
    }
}

/// What is meant, in the order in which it was recorded.
#[derive(Debug, Default)]
pub struct Gathered {
    meant: Meant,
    pub entries: Vec<Chosen>,
    by_id: HashMap<EntryId, Vec<usize>>,
    /// The hashes of the pairs that are to be taken back. A pair that has the hash of another one is kept as well,
    /// which does no harm.
    taken_back: HashSet<u64>,
    hashing: RandomState,
    pub pairs: usize,
    unreadable: u64,
    unknown: u64,
    unmet: Unmet,
}

/// An entry, or a part of one. At least one of its pairs is meant, or was changed by an earlier entry that is meant.
#[derive(Debug)]
pub struct Chosen {
    /// The entry without its pairs.
    pub entry: Entry,
    /// These pairs are meant. Where it is false, they are kept since an earlier change of them is meant.
    pub is_meant: bool,
    /// With their places in the entry.
    pub pairs: Vec<(u32, EntryPair)>,
    archived: Places,
    restored: Places,
    refused: Places,
}

/// What became of a pair, as far as the journal knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Archived,
    Restored,
    /// It is as it was.
    Refused,
    /// The request may have left, and no answer was noted.
    Unknown,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archived => "ARCHIVED",
            Self::Restored => "RESTORED",
            Self::Refused => "REFUSED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

impl Chosen {
    pub fn state(&self, place: u32) -> State {
        if self.archived.contains(place) {
            State::Archived
        } else if self.restored.contains(place) {
            State::Restored
        } else if self.refused.contains(place) {
            State::Refused
        } else {
            State::Unknown
        }
    }
}

/// Reads all that the settings, or `--file`, name.
pub async fn gather(
    settings: &Settings,
    place: &Place,
    selection: &Selection,
    meant: Meant,
) -> Result<Gathered, Failure> {
    let stores = stores(settings, place.file.as_deref())?;
    let mut gathered = Gathered::new(meant);
    for store in &stores {
        let mut reader = Reader::open(store, &settings.amqp, selection.since).await.map_err(|fault| failure(&fault))?;
        let read = gathered.read(&mut reader, selection).await;
        reader.close().await;
        read?;
    }
    gathered.say_what_was_passed_over();
    if gathered.entries.is_empty() {
        gathered.unmet.remarks(selection, meant.kind()).iter().for_each(|line| remark(line));
    }
    Ok(gathered)
}

fn stores(settings: &Settings, file: Option<&Path>) -> Result<Vec<JournalStore>, Failure> {
    if let Some(path) = file {
        return Ok(vec![JournalStore::File { path: path.to_owned(), max_age: std::time::Duration::MAX }]);
    }
    let stores = settings.journals();
    if stores.is_empty() { Err(failure(&ReadFault::Off)) } else { Ok(stores) }
}

fn failure(fault: &ReadFault) -> Failure {
    match fault {
        ReadFault::Off | ReadFault::File { .. } => Failure::Usage(fault.to_string()),
        ReadFault::Stream(_) => Failure::Running(fault.to_string()),
    }
}

impl Gathered {
    pub fn new(meant: Meant) -> Self {
        Self { meant, ..Self::default() }
    }

    async fn read(&mut self, reader: &mut Reader, selection: &Selection) -> Result<(), Failure> {
        while let Some(record) = reader.next().await.map_err(|fault| failure(&fault))? {
            match record {
                Ok(record) => self.note(record, selection)?,
                Err(_) => self.unreadable += 1,
            }
        }
        Ok(())
    }

    /// In the order in which they stand in the journal: an entry comes before what became of it.
    pub fn note(&mut self, record: Record, selection: &Selection) -> Result<(), Failure> {
        match record {
            Record::Entry(entry) => self.take(entry, selection)?,
            Record::Completion(completion) => self.complete(&completion),
            Record::Mark(_) => {}
            Record::Unknown => self.unknown += 1,
        }
        Ok(())
    }

    fn take(&mut self, entry: Entry, selection: &Selection) -> Result<(), Failure> {
        self.unmet.note(&entry, selection);
        let takes = self.meant.takes(entry.kind) && selection.takes(&entry);
        if !takes && self.taken_back.is_empty() {
            return Ok(());
        }
        let Entry { pairs, first, .. } = entry;
        let entry = Entry { pairs: Vec::new(), ..entry };
        let (mut meant, mut later) = (Vec::new(), Vec::new());
        for (place, pair) in (first..).zip(pairs) {
            match self.meant {
                _ if takes && selection.takes_pair(&entry, &pair) => meant.push((place, pair)),
                Meant::OfKind(_) if self.is_later(&entry, place, &pair) => later.push((place, pair)),
                Meant::All | Meant::OfKind(_) => {}
            }
        }
        if self.meant != Meant::All {
            let hashes: Vec<u64> = meant.iter().map(|(_, pair)| self.hash(&entry, pair)).collect();
            self.taken_back.extend(hashes);
        }
        if !later.is_empty() {
            self.keep(entry.clone(), false, later)?;
        }
        self.keep(entry, true, meant)
    }

    /// Whether this is a later change of a pair that is to be taken back. It may also be the same change: where very
    /// many jobs asked for a pair, the change has several records, and only one of them names the job that is meant.
    fn is_later(&self, entry: &Entry, place: u32, pair: &EntryPair) -> bool {
        let mut parts = self.by_id.get(&entry.id).into_iter().flatten().filter_map(|index| self.entries.get(*index));
        let is_the_same = |part: &Chosen| part.is_meant && part.pairs.iter().any(|(known, _)| *known == place);
        self.taken_back.contains(&self.hash(entry, pair)) && !parts.any(is_the_same)
    }

    /// Names a pair, from whichever side it is seen.
    fn hash(&self, entry: &Entry, pair: &EntryPair) -> u64 {
        let Entry { from_type, to_type, portal, .. } = entry;
        let mut ends = [(from_type.path_segment(), pair.pair.from), (to_type.path_segment(), pair.pair.to)];
        ends.sort_unstable();
        self.hashing.hash_one((portal, ends))
    }

    fn keep(&mut self, entry: Entry, is_meant: bool, pairs: Vec<(u32, EntryPair)>) -> Result<(), Failure> {
        if pairs.is_empty() {
            return Ok(());
        }
        let parts = self.by_id.entry(entry.id).or_default();
        // A record that was written twice, because nobody knew whether the first one was there, counts once.
        let again = parts.iter().filter_map(|index| self.entries.get(*index));
        if again.clone().any(|known| known.entry == entry && known.pairs == pairs) {
            return Ok(());
        }
        self.pairs += pairs.len();
        if self.pairs > MAX_PAIRS {
            return Err(Failure::Usage(format!(
                "more than {} pairs of the journal are meant, too many for once: narrow them down, as by --since and --until",
                Grouped(MAX_PAIRS as u64)
            )));
        }
        parts.push(self.entries.len());
        let (archived, restored, refused) = Default::default();
        self.entries.push(Chosen { entry, is_meant, pairs, archived, restored, refused });
        Ok(())
    }

    fn complete(&mut self, completion: &Completion) {
        let Some(parts) = self.by_id.get(&completion.entry) else { return };
        for part in parts {
            if let Some(chosen) = self.entries.get_mut(*part) {
                chosen.archived = chosen.archived.and(&completion.archived);
                chosen.restored = chosen.restored.and(&completion.restored);
                chosen.refused = chosen.refused.and(&completion.refused);
            }
        }
    }

    /// Nobody should believe that all was read where it was not.
    fn say_what_was_passed_over(&self) {
        if self.unreadable > 0 {
            remark(&format!("records that cannot be read, and were passed over: {}", Grouped(self.unreadable)));
        }
        if self.unknown > 0 {
            let count = Grouped(self.unknown);
            remark(&format!("records of a later version, which this one does not know, were passed over: {count}"));
        }
    }
}
