#![expect(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::sync::Arc;

use uuid::Uuid;

use super::super::reading::FileReader;
use super::*;
use crate::contract::journal::{Completion, EntryId, Places};

const AGE: Duration = Duration::from_secs(90 * 86_400);

fn record(number: u128, at: Timestamp) -> Vec<u8> {
    let (entry, none) = (EntryId(Uuid::from_u128(number)), Places::default());
    Completion { entry, at, archived: none.clone(), restored: none.clone(), refused: none.clone(), unknown: none }
        .encode()
}

fn records(numbers: std::ops::Range<u128>) -> Vec<Vec<u8>> {
    numbers.map(|number| record(number, Timestamp::now())).collect()
}

/// The numbers of the records that can be read; `None` for what is none.
fn read(path: &Path) -> Vec<Option<u128>> {
    let mut reader = FileReader::open(path, None).unwrap();
    let mut found = Vec::new();
    while let Some(record) = reader.read().unwrap() {
        found.push(match record {
            Ok(Record::Completion(completion)) => Some(completion.entry.0.as_u128()),
            Ok(Record::Entry(_) | Record::Mark(_) | Record::Unknown) | Err(_) => None,
        });
    }
    found
}

fn all(numbers: std::ops::Range<u128>) -> Vec<Option<u128>> {
    numbers.map(Some).collect()
}

fn fault(path: &Path) -> String {
    FileWriter::new(path.to_owned(), AGE).append(&records(0..1)).unwrap_err().to_string()
}

#[test]
fn what_was_appended_is_there_also_for_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.ndjson");
    FileWriter::new(path.clone(), AGE).append(&records(0..3)).unwrap();
    FileWriter::new(path.clone(), AGE).append(&records(3..5)).unwrap();
    assert_eq!(read(&path), all(0..5));
}

/// Whatever part of the last record a crash left: it is cut off, and nothing before it is.
#[test]
fn a_torn_last_line_is_forgiven_wherever_it_was_torn() {
    let directory = tempfile::tempdir().unwrap();
    let torn = [record(9, Timestamp::now()), vec![b'x'; 200_000]];
    for (index, torn) in torn.iter().flat_map(|torn| [&torn[..1], &torn[..torn.len() - 1], &torn[..]]).enumerate() {
        let path = directory.path().join(format!("journal-{index}"));
        FileWriter::new(path.clone(), AGE).append(&records(0..2)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(torn).unwrap();
        assert_eq!(read(&path), all(0..2), "a reader leaves it out");
        FileWriter::new(path.clone(), AGE).append(&records(2..3)).unwrap();
        assert_eq!(read(&path), all(0..3), "torn after {} bytes", torn.len());
    }
    let path = directory.path().join("nothing-else");
    fs::write(&path, "{\"version\":1").unwrap();
    FileWriter::new(path.clone(), AGE).append(&records(0..1)).unwrap();
    assert_eq!(read(&path), all(0..1));
}

/// Garbage amid the file, as a failing disk leaves it, costs the lines it hit.
#[test]
fn what_is_no_record_hides_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut writer = FileWriter::new(path.clone(), AGE);
    writer.append(&records(0..1)).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\0\0\0\n\n").unwrap();
    writer.append(&records(1..2)).unwrap();
    assert_eq!(read(&path), [Some(0), None, Some(1)]);
}

#[test]
fn two_writers_take_turns_and_tear_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path: Arc<Path> = directory.path().join("journal").into();
    let writers = (0..2_u128).map(|writer| {
        let path = Arc::clone(&path);
        thread::spawn(move || {
            let mut file = FileWriter::new(path.to_path_buf(), AGE);
            for number in 0..20 {
                let first = writer * 1_000 + number * 10;
                file.append(&records(first..first + 3)).unwrap();
            }
        })
    });
    writers.collect::<Vec<_>>().into_iter().for_each(|writer| writer.join().unwrap());
    let found = read(&path);
    assert_eq!(found.len(), 120);
    assert!(found.chunks(3).all(|group| group[0].map(|first| first + 2) == group[2]), "a group stays together");
}

#[test]
fn a_file_with_old_records_is_put_aside_and_one_too_old_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let two_days_ago = Timestamp::now() - Duration::from_secs(2 * 86_400);
    fs::write(&path, [record(0, two_days_ago), b"\n".to_vec()].concat()).unwrap();
    let ancient = segments::path_of(&path, two_days_ago - AGE);
    fs::write(&ancient, "").unwrap();
    let mut writer = FileWriter::new(path.clone(), AGE);
    writer.append(&records(1..2)).unwrap();
    writer.append(&records(2..3)).unwrap();
    assert_eq!(segments::of(&path).unwrap().len(), 1, "the old one is put aside, the ancient one deleted");
    assert!(!ancient.exists());
    assert_eq!(read(&path), all(0..3), "and all is read in order");
}

#[test]
fn a_large_file_is_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut writer = FileWriter::new(path.clone(), AGE);
    writer.append(&records(0..1)).unwrap();
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    file.set_len(SEGMENT_BYTES).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\n").unwrap();
    writer.append(&records(1..2)).unwrap();
    assert_eq!(segments::of(&path).unwrap().len(), 1);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut writer = FileWriter::new(path.clone(), AGE);
    writer.append(&records(0..1)).unwrap();
    fs::remove_file(&path).unwrap();
    writer.append(&records(1..2)).unwrap();
    assert_eq!(read(&path), all(1..2));
}

#[test]
fn each_fault_says_what_to_mend_and_is_over_when_that_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("missing/journal");
    let mut writer = FileWriter::new(nowhere.clone(), AGE);
    let missing = writer.append(&records(0..1)).unwrap_err().to_string();
    assert!(
        missing.contains("missing/journal.lock cannot be locked") && missing.contains("create the directory"),
        "{missing}"
    );
    fs::create_dir(directory.path().join("missing")).unwrap();
    writer.append(&records(0..1)).unwrap();
    assert_eq!(read(&nowhere), all(0..1));

    let full = directory.path().join("full");
    symlink("/dev/full", &full).unwrap();
    let complaint = fault(&full);
    assert!(complaint.contains("cannot be written") && complaint.contains("make room on that disk"), "{complaint}");

    let taken = directory.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(fault(&taken).contains("cannot be opened"));
}

#[test]
fn a_lock_that_another_process_keeps_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let lock = File::create(directory.path().join("journal.lock")).unwrap();
    lock.lock().unwrap();
    let complaint = fault(&path);
    assert!(complaint.contains("another process has held") && complaint.contains("journal.lock"), "{complaint}");
    drop(lock);
    FileWriter::new(path, AGE).append(&records(0..1)).unwrap();
}
