//! Endpoints and the fields of their answers.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use association_archiver::contract::outcome::Status;
use serde_json::Value;

use crate::corpus::{Document, all, nothing_wrong, root};
use crate::stage::{START_LIMIT, Stage, stop};

const PAGE: &str = "docs/endpoints.md";
const LIMIT: Duration = Duration::from_secs(30);

/// Method and path of each route, with the names of its parameters in braces.
fn routes() -> Vec<(String, String)> {
    let source = std::fs::read_to_string(root().join("src/admin/routes.rs")).unwrap();
    let routes = source.match_indices(".route(\"").map(|(at, start)| {
        let (path, rest) = source[at + start.len()..].split_once('"').unwrap();
        let method = rest.trim_start_matches([',', ' ']).split('(').next().unwrap();
        (method.to_uppercase(), path.to_owned())
    });
    routes.collect()
}

#[test]
fn every_endpoint_named_exists() {
    let routes = routes();
    let paths: BTreeSet<&str> = routes.iter().map(|(_, path)| path.as_str()).collect();
    let roots: BTreeSet<&str> = paths.iter().map(|path| path.split('/').nth(1).unwrap()).collect();
    let mut wrong = Vec::new();
    let mut named = 0;
    for document in all().iter().filter(|document| document.path != "simulator/README.md") {
        for span in document.spans() {
            let (method, path) = match span.split_once(' ') {
                Some((method @ ("GET" | "POST"), path)) => (Some(method), path),
                _ => (None, span.as_str()),
            };
            let ours = path.strip_prefix('/').is_some_and(|rest| roots.contains(rest.split('/').next().unwrap()));
            if !ours || path.contains(' ') {
                continue;
            }
            named += 1;
            if !routes.iter().any(|(of, route)| method.is_none_or(|method| method == of) && matches(route, path)) {
                wrong.push(format!("{}: there is no endpoint {span}", document.path));
            }
        }
        for (at, _) in document.text.match_indices("http://127.0.0.1:9090") {
            let rest = &document.text[at + "http://127.0.0.1:9090".len()..];
            let path = rest.split(|c: char| c.is_whitespace() || "`'\")>|".contains(c)).next().unwrap();
            named += 1;
            if !path.is_empty() && !routes.iter().any(|(_, route)| matches(route, path)) {
                wrong.push(format!("{}: there is no endpoint {path}", document.path));
            }
        }
    }
    assert!(named > 10, "only {named} endpoints were found: this test looks past them");
    nothing_wrong(wrong);
}

#[test]
fn every_endpoint_is_documented() {
    let spans = Document::read(PAGE).spans();
    let routes = routes();
    assert!(routes.len() > 5, "{routes:?}");
    let missing = routes.into_iter().map(|(method, path)| format!("{method} {path}"));
    nothing_wrong(missing.filter(|route| !spans.contains(route)).map(|route| format!("{PAGE} does not name {route}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_an_answer_is_documented() -> Result<()> {
    let stage = Stage::set("documents-endpoints", &[]).await?;
    let builder =
        stage.worker_without_account().config("[[hubspot.accounts]]\naccess_token = \"pat\"\npaused = true\n");
    let worker = stage.start(&builder).await?;
    harness::eventually(START_LIMIT, "a paused account in /status", async || {
        Ok((!worker.status().await?["accounts"][0]["pause"].is_null()).then_some(()))
    })
    .await?;
    let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build()?;
    let mut fields = BTreeSet::new();
    for path in ["/readyz", "/status"] {
        let answer: Value = client.get(format!("{}{path}", worker.admin())).send().await?.json().await?;
        collect(&answer, &mut fields);
    }
    stop(&worker).await?;
    let spans = Document::read(PAGE).spans();
    let statuses = Status::ALL.map(Status::as_str);
    let unnamed = fields.iter().filter(|field| !statuses.contains(&field.as_str()));
    let unnamed: Vec<String> = unnamed
        .filter(|field| !spans.iter().any(|span| span.split(['.', '[']).any(|part| part == field.as_str())))
        .map(|field| format!("{PAGE} does not name the field {field}"))
        .collect();
    assert!(fields.len() > 40, "{fields:?}");
    nothing_wrong(unnamed);
    Ok(())
}

fn collect(value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, below)| {
            fields.insert(name.clone());
            collect(below, fields);
        }),
        Value::Array(items) => items.iter().for_each(|item| collect(item, fields)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn matches(route: &str, path: &str) -> bool {
    let (route, path): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
    let same =
        |(of_route, of_path): (&&str, &&str)| of_route.starts_with('{') && !of_path.is_empty() || of_route == of_path;
    route.len() == path.len() && route.iter().zip(&path).all(same)
}
