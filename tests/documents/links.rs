//! Links between documents, and files that they name.

use std::path::{Component, Path, PathBuf};

use crate::corpus::{Document, all, nothing_wrong, root};

/// A name that begins so is one of a file or directory of the repository.
const OURS: [&str; 8] = ["benches/", "config/", "deploy/", "docs/", "simulator/", "src/", "tests/", ".ci/"];

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut wrong = Vec::new();
    for document in all() {
        for link in document.links().iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target =
                if file.is_empty() { PathBuf::from(&document.path) } else { within(document.directory(), file) };
            if !root().join(&target).exists() {
                wrong.push(format!("{}: {link}: there is no {}", document.path, target.display()));
            } else if let Some(anchor) = anchor
                && !Document::read(target.to_str().unwrap()).anchors().contains(anchor)
            {
                wrong.push(format!("{}: {link}: no heading of that name", document.path));
            }
        }
    }
    nothing_wrong(wrong);
}

#[test]
fn every_file_named_is_there() {
    let mut wrong = Vec::new();
    for document in all() {
        for span in document.spans().iter().filter(|span| OURS.iter().any(|ours| span.starts_with(ours))) {
            let path = span.split([' ', '|']).next().unwrap();
            // Two places: the repository's, and the simulator's or the harness's own.
            let places = [root().join(path), root().join(document.directory()).join(path)];
            if !path.contains(['*', '{', '…']) && !places.iter().any(|place| place.exists()) {
                wrong.push(format!("{}: there is no {path}", document.path));
            }
        }
    }
    nothing_wrong(wrong);
}

#[test]
fn every_document_for_users_is_reached_from_the_readme() {
    let readme = Document::read("README.md");
    let reached = readme.links();
    nothing_wrong(all().iter().filter(|document| document.path.starts_with("docs/")).filter_map(|document| {
        let linked = reached.iter().any(|link| link.split('#').next() == Some(document.path.as_str()));
        (!linked).then(|| format!("{} is not linked from README.md", document.path))
    }));
}

fn within(directory: &Path, file: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in directory.join(file).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => path.push(part),
        }
    }
    path
}
