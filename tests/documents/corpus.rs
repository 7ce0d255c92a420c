//! The documents, and the parts of them that name things.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A document as it lies in the repository.
#[derive(Clone, Debug)]
pub struct Document {
    /// From the root of the repository: `docs/operating.md`.
    pub path: String,
    pub text: String,
}

/// A block between fences.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence {
    /// The word after the opening fence; empty without one.
    pub language: String,
    /// The line of the opening fence, from 1.
    pub line: usize,
    /// Without the indentation of the fence.
    pub text: String,
    /// The last heading above it.
    pub heading: String,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What users read: the README and all of `docs/`.
pub fn for_users() -> Vec<Document> {
    let mut paths = vec!["README.md".to_owned()];
    paths.extend(markdown_in("docs"));
    paths.iter().map(|path| Document::read(path)).collect()
}

/// The same, and what stands beside the code.
pub fn all() -> Vec<Document> {
    let mut paths = ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(str::to_owned).to_vec();
    for directory in ["benches", "deploy", "simulator", "tests"] {
        paths.extend(markdown_in(directory));
    }
    for_users().into_iter().chain(paths.iter().map(|path| Document::read(path))).collect()
}

fn markdown_in(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(directory)];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            // What package managers put there is not ours.
            if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("venv") {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

impl Document {
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text }
    }

    pub fn directory(&self) -> &Path {
        Path::new(&self.path).parent().unwrap()
    }

    pub fn fences(&self) -> Vec<Fence> {
        self.parts().0
    }

    /// Everything outside fences, line by line.
    pub fn prose(&self) -> String {
        self.parts().1
    }

    /// What stands between backticks, outside fences.
    pub fn spans(&self) -> Vec<String> {
        let prose = self.prose();
        prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
    }

    /// Targets of links and pictures.
    pub fn links(&self) -> Vec<String> {
        let prose = self.without_spans();
        let targets = prose.match_indices("](").filter_map(|(at, _)| prose[at + 2..].split([')', ' ']).next());
        let pictures = ["src=\"", "srcset=\"", "href=\""].into_iter().flat_map(|attribute| {
            prose.match_indices(attribute).filter_map(|(at, _)| prose[at + attribute.len()..].split('"').next())
        });
        targets.chain(pictures).map(str::to_owned).collect()
    }

    /// The anchors of its headings, as GitHub makes them.
    pub fn anchors(&self) -> HashSet<String> {
        let mut seen = HashMap::<String, usize>::new();
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
        let anchors = headings.map(|heading| {
            let kept = heading.trim().to_lowercase();
            let kept: String = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect();
            let anchor = kept.replace(' ', "-");
            let before = seen.entry(anchor.clone()).or_default();
            *before += 1;
            if *before == 1 { anchor } else { format!("{anchor}-{}", *before - 1) }
        });
        anchors.collect()
    }

    fn without_spans(&self) -> String {
        let prose = self.prose();
        let lines = prose.lines().map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join("`"));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn parts(&self) -> (Vec<Fence>, String) {
        let (mut fences, mut prose, mut heading) = (Vec::new(), String::new(), String::new());
        let mut open: Option<(Fence, usize)> = None;
        for (index, line) in self.text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            open = match (open, fence) {
                (None, Some(language)) => {
                    let language = language.trim().to_owned();
                    let indentation = line.len() - line.trim_start().len();
                    let heading = heading.clone();
                    Some((Fence { language, line: index + 1, text: String::new(), heading }, indentation))
                }
                (Some((fence, _)), Some(_)) => {
                    fences.push(fence);
                    None
                }
                (Some((mut fence, indentation)), None) => {
                    fence.text.push_str(line.get(indentation..).unwrap_or_default());
                    fence.text.push('\n');
                    Some((fence, indentation))
                }
                (None, None) => {
                    if line.starts_with('#') {
                        heading = line.trim_start_matches('#').trim().to_owned();
                    }
                    prose.push_str(line);
                    prose.push('\n');
                    None
                }
            };
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.path);
        (fences, prose)
    }
}

/// Fails with all that is wrong, a line each.
pub fn nothing_wrong(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn the_parts_of_a_document_are_told_apart() {
    let text = "# A `b` c!\nsee `x` [y](z.md#w)\n\n   ```json\n   {}\n   ```\n## Twice\n## Twice\n";
    let document = Document { path: "a.md".to_owned(), text: text.to_owned() };
    let fence = Fence { language: "json".to_owned(), line: 4, text: "{}\n".to_owned(), heading: "A `b` c!".to_owned() };
    assert_eq!(document.fences(), [fence]);
    assert_eq!(document.spans(), ["b", "x"]);
    assert_eq!(document.links(), ["z.md#w"]);
    let anchors = ["a-b-c", "twice", "twice-1"].map(str::to_owned);
    assert_eq!(document.anchors(), HashSet::from(anchors));
}
