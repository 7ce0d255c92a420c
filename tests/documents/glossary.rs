//! A word of ARCHITECTURE.md's glossary names one type, and so means one thing wherever it is met.

use std::collections::BTreeSet;

use crate::borders::sources;
use crate::corpus::{Document, nothing_wrong};

/// Files that tell one thing in a second form, and call it by the same word for that.
const FORMS: [(&str, &str); 2] = [
    // What `/status` says, as the command `top` reads it.
    ("src/cli/top/status.rs", ""),
    // A job in hand; `contract/job.rs` has the job as it was asked for.
    ("policy/src/engine/ledger.rs", "Job"),
];

#[test]
fn a_word_of_the_glossary_names_one_type() {
    let words = words();
    assert!(words.len() > 30 && words.contains("Lane") && words.contains("DeadLetter"), "{words:?}");
    let files: Vec<_> = ["src", "policy/src"].into_iter().flat_map(sources).collect();
    let mut wrong = Vec::new();
    for word in &words {
        let is_form = |path: &str| FORMS.iter().any(|(file, of)| path == *file && (of.is_empty() || of == word));
        let names = |text: &str| text.lines().any(|line| defined(line) == Some(word));
        let places: Vec<_> = files.iter().filter(|(path, text)| !is_form(path) && names(text)).collect();
        if places.len() > 1 {
            let places: Vec<_> = places.iter().map(|(path, _)| path).collect();
            wrong.push(format!("{word} is a type in each of {places:?}"));
        }
    }
    nothing_wrong(wrong);
}

/// The words in bold letters, as types are written: `dead letter` is `DeadLetter`.
fn words() -> BTreeSet<String> {
    let text = Document::read("ARCHITECTURE.md").text;
    let glossary = text.split("## Glossary").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let bold = glossary.split("**").skip(1).step_by(2);
    bold.map(|word| word.split(' ').map(capitalised).collect()).collect()
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

/// The type that a line defines.
fn defined(line: &str) -> Option<&str> {
    let line = line.trim_start().strip_prefix("pub").map_or(line.trim_start(), |rest| {
        rest.strip_prefix("(super)").or(rest.strip_prefix("(crate)")).unwrap_or(rest).trim_start()
    });
    let name = ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| line.strip_prefix(kind))?;
    name.split(|c: char| !c.is_alphanumeric()).next()
}
