//! The settings as `config/default.toml` documents them: one place for what every key means.

/// One documented setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingDoc {
    /// As in the file, with `[]` for an entry of a list: `amqp.prefetch`, `hubspot.accounts[].portal_id`.
    pub key: String,
    /// The value in TOML; an example where `has_default` is false.
    pub value: String,
    pub has_default: bool,
    /// One paragraph.
    pub meaning: String,
}

/// Every setting, in the order of the file.
pub fn documented_settings() -> Vec<SettingDoc> {
    let mut docs = Vec::new();
    let mut section = String::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in DEFAULT_FILE.lines() {
        if let Some(name) = section_name(line) {
            section = name;
            comment.clear();
        } else if let Some(words) = line.strip_prefix("# ") {
            comment.push(words);
        } else if let Some((key, value)) = line.strip_prefix('#').and_then(|setting| setting.split_once(" = ")) {
            let meaning = comment.join(" ");
            comment.clear();
            let has_default = !meaning.contains(NO_DEFAULT);
            let meaning = meaning.replace(NO_DEFAULT, "").trim().to_owned();
            docs.push(SettingDoc { key: format!("{section}.{key}"), value: value.to_owned(), has_default, meaning });
        } else {
            comment.clear();
        }
    }
    docs
}

const DEFAULT_FILE: &str = include_str!("../../config/default.toml");

/// Ends the comment of a setting whose value below it is only an example.
const NO_DEFAULT: &str = "Not set by default.";

/// `[amqp]`, or `#[[hubspot.accounts]]` as the example of a list entry.
fn section_name(line: &str) -> Option<String> {
    let line = line.trim_start_matches('#');
    if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
        return Some(format!("{name}[]"));
    }
    line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::to_owned)
}
