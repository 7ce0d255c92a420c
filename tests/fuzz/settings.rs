//! Settings files and environment variables: whatever is accepted keeps the rules, whatever is refused is told in one
//! line, and neither shows a secret.
//!
//! A sample is a settings file; lines below `%%` are environment variables.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use association_archiver::config::{JobsSettings, Layers, Settings};

use crate::campaign::{self, Taken};

/// Given to every sample, and never to be seen again.
const SECRET: &str = "pat-na1-5ca1ab1e-0ddba11";

#[test]
fn settings_keep_their_rules_or_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    campaign::run("settings", |sample| {
        let (toml, variables) = parted(sample);
        std::fs::write(&file, toml).unwrap();
        let secret = ("ARCHIVER__ADMIN__TOKEN".into(), SECRET.into());
        let environment = variables.chain([secret]).collect();
        let layers = Layers { default_file: None, file: Some(file.clone()), environment };
        match Settings::from_layers(&layers) {
            Ok(settings) => {
                check(&settings, sample);
                Taken::Accepted
            }
            Err(error) => {
                let told = error.to_string();
                assert!(!told.is_empty() && !told.contains('\n'), "{told:?}");
                assert!(!told.contains(SECRET) && !format!("{error:?}").contains(SECRET), "{told}");
                Taken::Refused
            }
        }
    });
}

fn parted(sample: &[u8]) -> (&[u8], impl Iterator<Item = (OsString, OsString)>) {
    const MARK: &[u8] = b"\n%%\n";
    let at = sample.windows(MARK.len()).position(|window| window == MARK);
    let (toml, variables) = match at {
        Some(at) => (&sample[..at], &sample[at + MARK.len()..]),
        None => (sample, &[][..]),
    };
    let variables = variables.split(|byte| *byte == b'\n').filter_map(|line| {
        let equals = line.iter().position(|byte| *byte == b'=')?;
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Some((text(&line[..equals]), text(&line[equals + 1..])))
    });
    (toml, variables)
}

fn check(settings: &Settings, sample: &[u8]) {
    assert!(!format!("{settings:?}").contains(SECRET));
    let Settings {
        amqp,
        background,
        hubspot,
        batch,
        rate_limit,
        retry,
        safety,
        isolation: _,
        jobs,
        shutdown: _,
        admin: _,
        log: _,
        telemetry: _,
        unread_variables: _,
    } = settings;
    assert!(amqp.max_hold > hubspot.request_timeout && amqp.max_hold > batch.linger);
    assert!(amqp.max_held_bytes >= jobs.max_bytes);
    assert!(background.policy.min_share.percent() <= 50);
    assert!(jobs.max_pairs <= JobsSettings::MOST_PAIRS);
    assert!(batch.max_from.get() <= 100);
    assert!(rate_limit.interval > Duration::ZERO);
    assert!(retry.base_delay <= retry.max_delay);
    assert!(safety.max_pairs_window > Duration::ZERO);
    let host = hubspot.base_url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let allowed = sample.to_ascii_lowercase().windows(10).any(|window| window == b"allow_http");
    assert!(hubspot.base_url.scheme() == "https" || (hubspot.base_url.scheme() == "http" && (loopback || allowed)));
    if let Ok(accounts) = hubspot.accounts() {
        assert!(!accounts.is_empty());
        let mut portals: Vec<_> = accounts.iter().map(|account| account.portal_id).collect();
        portals.sort_unstable();
        portals.dedup();
        assert_eq!(portals.len(), accounts.len(), "two accounts of one portal");
    }
}
