//! The settings as a user meets them: files and variables in, values or one line of complaint out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::config::{FileFormat, Format};
use proptest::collection::vec;
use proptest::prelude::*;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;

const TOKEN: (&str, &str) = ("ARCHIVER__HUBSPOT__ACCESS_TOKEN", "pat-s3cr3t");

#[test]
fn accounts_are_spread_over_shards_that_fit_them() {
    let accounts = "[[hubspot.accounts]]\nportal_id = 7\naccess_token = \"a\"\n\
                    [[hubspot.accounts]]\nportal_id = 4711\naccess_token = \"b\"\n";
    let with = |amqp: &str| from_text(&format!("[amqp]\n{amqp}\n{accounts}"));
    let names = |amqp: &str| {
        let AmqpSettings { shards, jobs_queue, .. } = with(amqp).unwrap().amqp;
        shards.queues().map(|queue| shards.name(queue, jobs_queue.as_str())).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("jobs_queue = \"j\""), "j");
    assert_eq!(names("jobs_queue = \"j\"\nshards = \"none\""), "j");
    assert_eq!(names("jobs_queue = \"j\"\nshards = \"per-account\""), "j j.7 j.4711");
    assert_eq!(names("jobs_queue = \"j\"\nshards = 2"), "j j.0 j.1");
    for (amqp, says) in [
        ("shards = 0", "whole number from 1 to 500"),
        ("shards = 501", "whole number from 1 to 500"),
        ("shards = \"per account\"", "\"per-account\""),
        ("shards = 2\nlease = false", "needs amqp.lease"),
        ("shards = 2\njobs_queue = \"jobs\"", "choose another name"),
        ("shards = 2\nresults_queue = \"association-archiver.jobs.1\"", "choose another name"),
        ("shards = 2\nresults_queue = \"association-archiver.jobs.1.lease\"", "choose another name"),
        ("shards = 2\ndead_letter_queue = \"association-archiver.jobs.workers\"", "choose another name"),
    ] {
        let error = with(amqp).unwrap_err().to_string();
        assert!(error.contains(says), "{amqp}: {error}");
    }
    let unnamed = from_text("[amqp]\nshards = \"per-account\"\n[hubspot]\naccess_token = \"t\"\n");
    assert!(unnamed.unwrap_err().to_string().contains("no portal_id to name its queue after"));
}

#[test]
fn without_any_layer_the_defaults_hold() {
    let settings = from_env(&[]).unwrap();
    assert_eq!(settings.amqp.broker().unwrap().uri.expose(), "amqp://guest:guest@127.0.0.1:5672/%2f");
    assert_eq!(settings.amqp.prefetch.get(), 10_000);
    assert_eq!(settings.amqp.max_held_bytes, 256 * 1024 * 1024);
    assert_eq!(settings.amqp.max_hold, Duration::from_secs(600));
    assert_eq!(settings.amqp.jobs_queue.as_str(), "association-archiver.jobs");
    assert_eq!(settings.hubspot.base_url.as_str(), "https://api.hubapi.com/");
    assert_eq!(settings.hubspot.api_version.as_str(), "v4");
    assert_eq!(settings.hubspot.request_timeout, Duration::from_secs(110));
    assert_eq!(settings.batch.max_from.get(), 100);
    assert!(settings.batch.fold.is_empty());
    assert_eq!(settings.rate_limit, RateLimit::default());
    assert_eq!(settings.jobs.max_bytes, 1024 * 1024);
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:9090");
    assert_eq!(settings.log.format, None);
}

#[test]
fn a_later_layer_wins_key_by_key() {
    let files = TempDir::new().unwrap();
    let layers = Layers {
        default_file: Some(file(&files, "default.toml", "[batch]\nmax_from = 1\nmax_pairs = 11\nlinger = \"1s\"")),
        file: Some(file(&files, "worker.toml", "[batch]\nmax_from = 2\nmax_pairs = 12")),
        environment: variables(&[("ARCHIVER__BATCH__MAX_FROM", "3"), ("ARCHIVER__BATCH__MAX_PAIRS", "")]),
    };
    let BatchSettings { max_from, max_pairs, linger, fold: _ } = Settings::from_layers(&layers).unwrap().batch;
    assert_eq!((max_from.get(), max_pairs.get(), linger), (3, 12, Duration::from_secs(1)));
}

#[test]
fn only_the_default_file_may_be_missing() {
    let nowhere = PathBuf::from("nowhere.toml");
    let absent_default = Layers { default_file: Some(nowhere.clone()), ..Layers::default() };
    assert!(Settings::from_layers(&absent_default).is_ok());
    let absent_file = Layers { file: Some(nowhere), ..Layers::default() };
    let error = Settings::from_layers(&absent_file).unwrap_err().to_string();
    assert_eq!(error, "cannot read the settings file nowhere.toml: it does not exist");
    let directory = Layers { default_file: Some(TempDir::new().unwrap().keep()), ..Layers::default() };
    assert!(Settings::from_layers(&directory).is_err());
}

#[test]
fn the_environment_reaches_every_kind_of_value() {
    let settings = from_env(&[
        ("ARCHIVER__AMQP__PREFETCH", "500"),
        ("ARCHIVER__AMQP__DECLARE_TOPOLOGY", "false"),
        ("ARCHIVER__AMQP__MAX_HELD_BYTES", "2MiB"),
        ("ARCHIVER__BATCH__LINGER", "0"),
        ("ARCHIVER__HUBSPOT__API_VERSION", "2026-09"),
        ("ARCHIVER__RATE_LIMIT__DAILY", "250000"),
        ("ARCHIVER__ADMIN__LISTEN", "0.0.0.0:0"),
        ("ARCHIVER__LOG__FILTER", "warn,association_archiver=debug"),
        ("ARCHIVER__HUBSPOT__ACCOUNTS__0__PORTAL_ID", "4711"),
        ("ARCHIVER__HUBSPOT__ACCOUNTS__0__ACCESS_TOKEN", "pat-s3cr3t"),
        ("ARCHIVER__HUBSPOT__ACCOUNTS__0__RATE_LIMIT__REQUESTS", "7"),
        ("ARCHIVER_PORT_9090_TCP", "tcp://10.0.0.1:9090"),
        ("UNRELATED", "1"),
    ])
    .unwrap();
    assert_eq!(settings.amqp.prefetch.get(), 500);
    assert!(!settings.amqp.declare_topology);
    assert_eq!(settings.amqp.max_held_bytes, 2 * 1024 * 1024);
    assert_eq!(settings.batch.linger, Duration::ZERO);
    assert_eq!(settings.hubspot.api_version, ApiVersion::September2026);
    assert_eq!(settings.rate_limit.daily.map(|d| d.get()), Some(250_000));
    let [account] = settings.hubspot.accounts().unwrap() else { panic!("one account") };
    assert_eq!(account.portal_id.unwrap().to_string(), "4711");
    assert_eq!(account.rate_limit.requests.get(), 7);
    assert_eq!(account.rate_limit.daily, settings.rate_limit.daily);
}

#[test]
fn a_variable_meets_the_account_of_its_number_in_the_file() {
    let files = TempDir::new().unwrap();
    let accounts = "[[hubspot.accounts]]\nportal_id = 1\naccess_token = \"a\"\n\
                    [[hubspot.accounts]]\nportal_id = 2\naccess_token = \"b\"\npaused = true\n";
    let environment = variables(&[("ARCHIVER__HUBSPOT__ACCOUNTS__1__ACCESS_TOKEN", "new")]);
    let layers = Layers { file: Some(file(&files, "worker.toml", accounts)), environment, ..Layers::default() };
    let settings = Settings::from_layers(&layers).unwrap();
    let [first, second] = settings.hubspot.accounts().unwrap() else { panic!("two accounts") };
    assert_eq!((token_of(first), token_of(second), second.paused), ("a".to_owned(), "new".to_owned(), true));
}

#[test]
fn unknown_keys_are_refused_by_name_from_every_layer() {
    for (text, named) in [
        (
            "[amqp]\nprefech = 1",
            "unknown setting amqp.prefech (ARCHIVER__AMQP__PREFECH) (in worker.toml line 2); did you mean amqp.prefetch?",
        ),
        (
            "[hubspt]\nbase_url = \"x\"",
            "unknown setting hubspt (ARCHIVER__HUBSPT) (in worker.toml line 1); did you mean hubspot?",
        ),
        ("dry_run = true", "unknown setting dry_run"),
        ("[[hubspot.accounts]]\nportal_id = 1\naccesstoken = \"a\"", "did you mean hubspot.accounts[0].access_token?"),
        (
            "[[hubspot.accounts]]\naccess_token = \"a\"\noauth.scope = \"x\"",
            "unknown setting hubspot.accounts[0].oauth.scope",
        ),
        ("[hubspot]\n\"a\\nb\" = 1", "unknown setting \"hubspot.a\\nb\""),
    ] {
        let error = complaint_about(text);
        assert!(error.contains(named), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    for name in ["ARCHIVER__AMQP__FOO", "ARCHIVER__FOO__BAR", "ARCHIVER__FOO", "ARCHIVER__A__B__C__D__E__F"] {
        let error = from_env(&[(name, "1")]).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(from_env(&[("ARCHIVER__AMQP__FOO", "")]).is_err(), "an empty value does not make the key known");
    for nameless in ["ARCHIVER__", "ARCHIVER__AMQP__", "ARCHIVER____AMQP"] {
        assert!(from_env(&[(nameless, "1")]).is_err(), "{nameless}");
    }
}

#[test]
fn a_wrong_value_is_named_with_its_rule() {
    for (name, value, complaint) in [
        (
            "AMQP__PREFETCH",
            "0",
            "amqp.prefetch (ARCHIVER__AMQP__PREFETCH) must be a whole number from 1 to 65535, not \"0\" (in the environment)",
        ),
        ("AMQP__PREFETCH", "65536", "not \"65536\""),
        ("AMQP__PREFETCH", "-1", "not \"-1\""),
        ("AMQP__PREFETCH", "ten", "not \"ten\""),
        ("AMQP__MAX_HELD_BYTES", "256 elephants", "must be a size such as"),
        ("AMQP__MAX_HELD_BYTES", "2KiB", "must be at least jobs.max_bytes"),
        ("AMQP__MAX_HOLD", "100s", "must be longer than hubspot.request_timeout"),
        ("AMQP__MAX_HOLD", "10", "needs a unit"),
        ("AMQP__DECLARE_TOPOLOGY", "yes", "must be true or false"),
        ("AMQP__JOBS_QUEUE", "results", "routing key"),
        ("AMQP__JOBS_QUEUE", "amq.jobs", "must not begin with \"amq.\""),
        ("AMQP__RESULTS_QUEUE", "association-archiver.jobs", "names the same queue as amqp.jobs_queue"),
        ("AMQP__DEAD_LETTER_QUEUE", "association-archiver.jobs.lease", "keeps its lease"),
        ("AMQP__EXCHANGE", "amq.direct", "which both mean the default exchange"),
        ("AMQP__RESULTS_QUEUE", "association-archiver.jobs.delay.10s", "as the worker's delay queues do"),
        ("AMQP__DEAD_LETTER_QUEUE", "association-archiver.jobs.delay.x", "as the worker's delay queues do"),
        ("AMQP__CLIENT_CERT_FILE", "cert.pem", "needs amqp.client_key_file"),
        ("HUBSPOT__BASE_URL", "http://proxy.example", "plain http"),
        ("HUBSPOT__BASE_URL", "ftp://proxy.example", "must be a URL"),
        ("HUBSPOT__BASE_URL", "https://user:s3cr3t@proxy.example", "must be a URL"),
        ("HUBSPOT__API_VERSION", "v3", "must be \"v4\" or \"2026-03\" or \"2026-09\", not \"v3\""),
        ("HUBSPOT__REQUEST_TIMEOUT", "0s", "must be a duration from 10ms to 1h, not \"0s\""),
        ("HUBSPOT__MAX_IN_FLIGHT", "0", "hubspot.max_in_flight"),
        ("BATCH__MAX_FROM", "101", "from 1 to 100"),
        ("RATE_LIMIT__REQUESTS", "0", "rate_limit.requests"),
        ("RATE_LIMIT__DAILY", "0", "must be \"none\" or a whole number"),
        ("RETRY__MAX_DELAY", "1ms", "must not be shorter than retry.base_delay"),
        ("JOBS__MAX_PAIRS", "10001", "from 1 to 10000"),
        ("JOBS__MAX_BYTES", "17MiB", "jobs.max_bytes"),
        ("ADMIN__LISTEN", "localhost", "must be an address with a port"),
        ("LOG__FORMAT", "xml", "must be \"json\" or \"pretty\", not \"xml\""),
        ("LOG__FILTER", "association_archiver=loud", "must be a level"),
    ] {
        let error = from_env(&[(&format!("ARCHIVER__{name}"), value)]).expect_err(name).to_string();
        assert!(error.contains(complaint), "{name}={value}: {error}");
        assert!(!error.contains('\n') && !error.contains("s3cr3t"), "{error}");
    }
}

/// Whatever is wrong, whoever must mend it is told where: also of a rule that holds between settings, and of a file that is
/// read later.
#[test]
fn a_refused_setting_is_named_with_the_place_where_it_is_written() {
    let account = "[[hubspot.accounts]]\nportal_id = 1\naccess_token = \"t\"\n";
    for (text, place) in [
        ("[amqp]\nprefetch = 0", " (in worker.toml line 2)"),
        ("\n[amqp]\nprefetch = []", " (in worker.toml line 3)"),
        ("amqp = 1", " (in worker.toml line 1)"),
        ("[hubspot]\n\n# A comment.\naccess_token = \"\"", " (in worker.toml line 4)"),
        (
            "[retry]\nbase_delay = \"2s\"\nmax_delay = \"1s\"",
            " (in worker.toml line 3; retry.base_delay in worker.toml line 2)",
        ),
        ("[retry]\nbase_delay = \"1m\"", " (retry.base_delay in worker.toml line 2)"),
        ("[hubspot]\nrequest_timeout = \"20m\"", " (hubspot.request_timeout in worker.toml line 2)"),
        (
            "[hubspot]\naccess_token = \"a\"\naccess_token_file = \"b\"",
            " (in worker.toml line 2; hubspot.access_token_file in worker.toml line 3)",
        ),
        ("[amqp]\nlease = true\nresults_queue = \"association-archiver.jobs\"", " (in worker.toml line 3)"),
        ("[amqp]\nshards = 2\nlease = false", " (in worker.toml line 2; amqp.lease in worker.toml line 3)"),
        ("[amqp]\nclient_cert_file = \"cert.pem\"", " (in worker.toml line 2)"),
        (
            &format!("{account}\n{account}"),
            " (in worker.toml line 6; hubspot.accounts[0].portal_id in worker.toml line 2)",
        ),
        (&format!("{account}\n[[hubspot.accounts]]\naccess_token = \"t\""), " (in worker.toml line 5)"),
        ("[amqp]\n[[hubspot.accounts]]\nportal_id = 1", " (in worker.toml line 2)"),
        ("[[hubspot.accounts]]\noauth.client_id = \"c\"", " (in worker.toml line 2)"),
        (&format!("{account}safety.journal_stream = \"jobs\""), " (in worker.toml line 4)"),
        (&format!("[hubspot]\naccess_token = \"t\"\n{account}"), "hubspot.accounts in worker.toml line 3)"),
        ("[amqp]\nshards = 2\n\n[background]\nmin_share = 5", " (in worker.toml line 5)"),
    ] {
        let error = complaint_about(text);
        assert!(error.ends_with(place), "{text}: {error}");
    }
    assert!(complaint_about(&format!("{account}safety.journal_stream = \"jobs\"")).starts_with("hubspot.accounts[0]."));

    let files = TempDir::new().unwrap();
    let path = file(&files, "worker.toml", "[jobs]\nmax_bytes = \"3MiB\"");
    let environment = variables(&[("ARCHIVER__AMQP__MAX_HELD_BYTES", "2MiB")]);
    let layers = Layers { file: Some(path.clone()), environment, ..Layers::default() };
    let error = Settings::from_layers(&layers).unwrap_err().to_string();
    let place = format!(" (in the environment; jobs.max_bytes in {} line 2)", path.display());
    assert!(error.ends_with(&place), "{error}");

    let text = "[amqp]\nuri = \"amqps://broker\"\nca_file = \"/nowhere/ca\"\n[hubspot]\naccess_token_file = \"/nowhere/token\"";
    let path = file(&files, "later.toml", text);
    let settings = Settings::from_layers(&Layers { file: Some(path.clone()), ..Layers::default() }).unwrap();
    for (error, line) in [(settings.amqp.broker().unwrap_err(), 3), (settings.hubspot.accounts().unwrap_err(), 5)] {
        let error = error.to_string();
        assert!(error.ends_with(&format!(" (in {} line {line})", path.display())), "{error}");
    }
}

/// An empty variable sets nothing, so there the default exchange has a name.
#[test]
fn the_default_exchange_is_empty_in_a_file_and_named_in_a_variable() {
    let named = AmqpSettings::default().exchange;
    assert_eq!(from_text("[amqp]\nexchange = \"\"").unwrap().amqp.exchange, Exchange::Default);
    assert_eq!(from_env(&[("ARCHIVER__AMQP__EXCHANGE", "amq.default")]).unwrap().amqp.exchange, Exchange::Default);
    assert_eq!(from_env(&[("ARCHIVER__AMQP__EXCHANGE", "")]).unwrap().amqp.exchange, named);
}

#[test]
fn values_of_the_wrong_shape_are_refused() {
    for text in [
        "amqp = 1",
        "amqp = \"amqp://u:s3cr3t@broker\"",
        "hubspot = [\"s3cr3t\"]",
        "[amqp]\nuri = 1",
        "[amqp]\nuri = [\"amqp://u:s3cr3t@broker\"]",
        "[amqp.uri]\npassword = \"s3cr3t\"",
        "[amqp]\njobs_queue = 1",
        "[amqp]\nprefetch = 1.5",
        "[amqp]\nprefetch = 99999999999999999999999999999999999999999999999",
        "[amqp]\nprefetch = 1979-05-27",
        "[amqp]\nmax_hold = [\"10m\"]",
        "[hubspot]\naccess_token = { s3cr3t = 1 }",
        "[hubspot]\naccounts = \"s3cr3t\"",
        "[hubspot]\naccounts = [\"s3cr3t\"]",
        "[hubspot]\naccess_token_file = 7",
        "[hubspot]\naccess_token_file = \"\"",
        "[hubspot]\naccess_token = \"\"",
        "[hubspot]\naccess_token = \"s3cr3t \"",
        "[hubspot]\naccess_token = \"s3cr3t\\n\"",
    ] {
        let error = complaint_about(text);
        assert!(!error.contains("s3cr3t") && !error.contains('\n'), "{text}: {error}");
    }
}

#[test]
fn broken_toml_is_placed_but_not_quoted() {
    for (text, line) in [
        ("[hubspot]\naccess_token = pat-s3cr3t", 2),
        ("[hubspot]\naccess_token = \"pat-s3cr3t", 2),
        ("[hubspot]\naccess_token = 'pat-s3cr3t\" # x", 2),
        ("[hubspot]\naccess_token = \"pat-s3cr3t\" s3cr3t", 2),
        ("[hubspot]\n\naccess_token = \"pat-\\s3cr3t\"", 3),
        ("[hubspot]\naccess_token = \"a\"\naccess_token = \"s3cr3t\"", 3),
        ("[hubspot]\naccess_token = {s3cr3t", 2),
        ("[hubspot]\naccess_token: s3cr3t", 2),
    ] {
        let error = complaint_about(text);
        assert!(error.starts_with(&format!("worker.toml line {line} is not valid TOML: ")), "{text}: {error}");
        assert!(!error.contains("s3cr3t") && !error.contains('\n'), "{text}: {error}");
    }
}

#[test]
fn depth_and_length_are_no_danger() {
    let levels = 100_000;
    for text in [
        format!("x = {}", "[".repeat(levels)),
        format!("x = {}", "{x = ".repeat(levels)),
        format!("{}x = 1", "x.".repeat(levels)),
        format!("[{}x]", "x.".repeat(levels)),
        format!("{} = 1", "x".repeat(levels)),
    ] {
        assert!(complaint_about(&text).len() < 1_000);
    }
    let error = from_env(&[(&format!("ARCHIVER{}", "__X".repeat(levels)), "1")]).unwrap_err().to_string();
    assert!(error.len() < 1_000, "{error}");
}

#[test]
fn no_key_is_taken_for_a_path() {
    for (text, complaint) in [
        (
            "[batch]\n[hubspot]\n[\"x[999999999]\"]\ny = 1",
            "x[999999999] (ARCHIVER__X__999999999) is a key in quotes, which no setting needs: write sections and keys without (in worker.toml line 3)",
        ),
        ("\"x[-999999999]\" = 1", "is a key in quotes"),
        ("\"hubspot.accounts[999999999]\" = 1", "is a key in quotes"),
        ("\"amqp.prefetch\" = 1", "is a key in quotes"),
        ("\"\" = 1", "unknown setting"),
        ("[hubspot]\n\"accounts[999999999]\" = 1", "unknown setting hubspot.accounts[999999999]"),
        ("[[hubspot.accounts]]\n\"x[999999999]\" = 1", "unknown setting hubspot.accounts[0].x[999999999]"),
    ] {
        let error = complaint_about(text);
        assert!(error.contains(complaint), "{text}: {error}");
    }
    for (name, complaint) in [
        ("X[999999999]", "unknown setting x[999999999]"),
        ("HUBSPOT__ACCOUNTS[999999999]__ACCESS_TOKEN", "unknown setting hubspot.accounts[999999999].access_token"),
        ("HUBSPOT.ACCESS_TOKEN", "unknown setting hubspot.access_token"),
        ("HUBSPOT__ACCOUNTS__999999999__ACCESS_TOKEN", "without a gap"),
    ] {
        let error = from_env(&[(&format!("ARCHIVER__{name}"), "s3cr3t")]).unwrap_err().to_string();
        assert!(error.contains(complaint) && !error.contains("s3cr3t"), "{name}: {error}");
    }
}

#[test]
fn a_number_too_large_to_hold_is_placed() {
    for number in ["9223372036854775808", "0xffff_ffff_ffff_ffff", "1e999"] {
        let error = complaint_about(&format!("[[hubspot.accounts]]\nportal_id = {number}"));
        assert_eq!(error, "worker.toml line 2 is not valid TOML: see column 13 (a number does not fit into 64 bits)");
    }
    let error = complaint_about("[amqp]\nprefetch = 1.0");
    assert!(error.contains("must be a whole number from 1 to 65535, not \"1.0\" (in worker.toml line 2)"), "{error}");
}

#[test]
fn a_bare_word_in_place_of_a_value_is_called_one() {
    let lists = "[[hubspot.accounts]]\nportal_id = 1\n";
    for (text, place) in [
        ("rate_limit.requests = ninety", "line 1 is not valid TOML: see column 23"),
        ("hubspot.base_url=api.hubapi.com", "line 1 is not valid TOML: see column 18"),
        ("amqp.lease = True", "line 1 is not valid TOML: see column 14"),
        (&format!("{lists}labels = [Primary]"), "line 3 is not valid TOML: see column 11"),
    ] {
        let error = complaint_about(text);
        assert!(error.contains(place) && error.contains("text needs quotes, a number digits"), "{text}: {error}");
    }
    for other in ["amqp.uri = \"amqp://", "[amqp", "amqp.lease = true\namqp.lease = true", "amqp.prefetch = 1 2"] {
        let error = complaint_about(other);
        assert!(error.contains("is a quote or a bracket missing"), "{other}: {error}");
    }
}

#[test]
fn a_list_is_replaced_whole_by_a_later_file() {
    let files = TempDir::new().unwrap();
    let account = |portal: u32| format!("[[hubspot.accounts]]\nportal_id = {portal}\naccess_token = \"t{portal}\"\n");
    let layers = Layers {
        default_file: Some(file(&files, "default.toml", &format!("{}{}", account(1), account(2)))),
        file: Some(file(&files, "worker.toml", &account(3))),
        environment: variables(&[("ARCHIVER__HUBSPOT__ACCOUNTS__0__PAUSED", "")]),
    };
    let settings = Settings::from_layers(&layers).unwrap();
    let [account] = settings.hubspot.accounts().unwrap() else { panic!("one account") };
    assert_eq!((token_of(account), account.paused), ("t3".to_owned(), false));
    let unknown = ("ARCHIVER__HUBSPOT__ACCOUNTS__0__PAUSE", "");
    let error =
        Settings::from_layers(&Layers { environment: variables(&[unknown]), ..layers }).unwrap_err().to_string();
    assert!(error.contains("did you mean hubspot.accounts[0].paused?"), "{error}");
}

#[test]
fn a_complaint_names_the_layer_it_is_about() {
    let files = TempDir::new().unwrap();
    let layers = |environment: &[(&str, &str)]| Layers {
        default_file: Some(file(&files, "default.toml", "[batch]\nmax_from = 0\n[retry]\n[retries]")),
        file: Some(file(&files, "worker.toml", "\n\n[batch]\nmax_pairs = 0")),
        environment: variables(environment),
    };
    let complaint = |environment: &[(&str, &str)]| Settings::from_layers(&layers(environment)).unwrap_err().to_string();
    assert!(complaint(&[]).ends_with("default.toml line 2)"), "{}", complaint(&[]));
    let max_from = ("ARCHIVER__BATCH__MAX_FROM", "1");
    assert!(complaint(&[max_from]).ends_with("worker.toml line 4)"), "{}", complaint(&[max_from]));
    let max_pairs = ("ARCHIVER__BATCH__MAX_PAIRS", "-1");
    assert!(complaint(&[max_from, max_pairs]).ends_with("(in the environment)"));
    let error = complaint(&[max_from, ("ARCHIVER__BATCH__MAX_PAIRS", "1")]);
    assert!(error.contains("unknown setting retries") && error.contains("default.toml line 4)"), "{error}");
}

#[test]
fn variables_that_contradict_each_other_are_refused_in_any_order() {
    for pair in [
        [("ARCHIVER__BATCH__LINGER", "1s"), ("ARCHIVER__batch__linger", "2s")],
        [("ARCHIVER__BATCH", "s3cr3t"), ("ARCHIVER__BATCH__LINGER", "1s")],
        [("ARCHIVER__BATCH__LINGER", "1s"), ("ARCHIVER__BATCH__LINGER__X", "")],
    ] {
        let [forth, back] =
            [[pair[0], pair[1]], [pair[1], pair[0]]].map(|pair| from_env(&pair).unwrap_err().to_string());
        assert!(forth.contains("drop one of the variables") && !forth.contains("s3cr3t"), "{forth}");
        assert_eq!(forth, back);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_input_is_settings_or_one_line_of_complaint(
        lines in vec("(\\[\\[?)?(amqp|hubspot|batch|hubspot\\.accounts|.{0,8})(\\.|\\]\\]?)?(uri|max_hold|oauth|.{0,8})? ?=? ?.{0,12}", 0..6),
        names in vec("(AMQP|HUBSPOT|.{0,6})(__)?(URI|ACCOUNTS|MAX_HOLD|.{0,6})(__)?([01]|.{0,4})", 0..4),
        value in ".{0,12}",
    ) {
        let files = TempDir::new().unwrap();
        let environment = names.iter().map(|name| (format!("ARCHIVER__{name}").into(), (&value).into())).collect();
        let layers = Layers { file: Some(file(&files, "f", &lines.join("\n"))), environment, ..Layers::default() };
        if let Err(error) = Settings::from_layers(&layers) {
            let error = error.to_string();
            prop_assert!(!error.chars().any(char::is_control) && error.len() < 2_000, "{error:?}");
        }
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let settings =
        from_env(&[TOKEN, ("ARCHIVER__AMQP__URI", "amqp://u:s3cr3t@broker"), ("ARCHIVER__ADMIN__TOKEN", "s3cr3t")])
            .unwrap();
    assert!(!format!("{settings:?}").contains("s3cr3t"));
    assert!(!format!("{:?}", settings.amqp.broker().unwrap()).contains("s3cr3t"));
    assert!(!format!("{:?}", settings.admin.token().unwrap()).contains("s3cr3t"));
    let not_text = OsString::from_vec(b"s3cr3t\xff".to_vec());
    let environment = vec![(TOKEN.0.into(), not_text)];
    let error = Settings::from_layers(&Layers { environment, ..Layers::default() }).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cr3t"));
    // The secret where its file belongs.
    for (name, value) in [
        ("ARCHIVER__HUBSPOT__ACCESS_TOKEN_FILE", "pat-na1-s3cr3t00-0000-0000-0000-000000000000"),
        ("ARCHIVER__HUBSPOT__CA_FILE", "-----BEGIN s3cr3t-----abcdefghi"),
        ("ARCHIVER__AMQP__URI_FILE", "amqp://u:s3cr3t@h"),
    ] {
        let settings = from_env(&[(name, value)]).unwrap();
        let errors = [
            settings.hubspot.accounts().map(drop),
            settings.hubspot.ca_pem().map(drop),
            settings.amqp.broker().map(drop),
        ];
        let errors: String = errors.iter().filter_map(|r| r.as_ref().err()).map(ToString::to_string).collect();
        assert!(errors.contains(name) && !errors.contains("s3cr3t"), "{errors}");
    }
}

#[test]
fn a_secret_file_is_trimmed_and_read_again() {
    let files = TempDir::new().unwrap();
    let path = file(&files, "token", "first\n");
    let settings = from_env(&[("ARCHIVER__HUBSPOT__ACCESS_TOKEN_FILE", path.to_str().unwrap())]).unwrap();
    let [account] = settings.hubspot.accounts().unwrap() else { panic!("one account") };
    assert_eq!(token_of(account), "first");
    fs::write(&path, "second\r\n").unwrap();
    assert_eq!(token_of(account), "second");
    let Credentials::AccessToken(source) = &account.credentials else { panic!("a token") };
    assert_eq!(source.path(), Some(path.as_path()));
    for (content, complaint) in [
        (&b""[..], "is empty"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (b"\n", "is empty"),
        (b"two words", "one word"),
        (b"\xff", "UTF-8"),
    ] {
        fs::write(&path, content).unwrap();
        let error = settings.hubspot.accounts().unwrap_err().to_string();
        assert!(error.starts_with("hubspot.access_token_file (ARCHIVER__HUBSPOT__ACCESS_TOKEN_FILE) "), "{error}");
        assert!(error.contains(complaint), "{error}");
    }
    fs::remove_file(&path).unwrap();
    let error = settings.hubspot.accounts().unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("cannot be read"), "{error}");
}

#[test]
fn a_secret_and_its_file_exclude_each_other() {
    for key in ["AMQP__URI", "HUBSPOT__ACCESS_TOKEN", "ADMIN__TOKEN"] {
        let (inline, twin) = (format!("ARCHIVER__{key}"), format!("ARCHIVER__{key}_FILE"));
        let error = from_env(&[(&inline, "amqp://broker"), (&twin, "/run/secrets/x")]).unwrap_err().to_string();
        assert!(error.contains("are both set"), "{error}");
    }
}

#[test]
fn accounts_must_be_whole_and_apart() {
    let oauth = "oauth.client_id = \"c\"\noauth.client_secret = \"s\"\noauth.refresh_token = \"r\"";
    for (text, complaint) in [
        (
            "[[hubspot.accounts]]\nportal_id = 1",
            "hubspot.accounts[0] (ARCHIVER__HUBSPOT__ACCOUNTS__0) has no credentials",
        ),
        (&format!("[[hubspot.accounts]]\naccess_token = \"t\"\n{oauth}"), "has both"),
        (
            "[[hubspot.accounts]]\noauth.client_id = \"c\"",
            "is incomplete: add client_secret_file and refresh_token_file",
        ),
        ("[[hubspot.accounts]]\nportal_id = 0\naccess_token = \"t\"", "must be a positive integer"),
        ("[[hubspot.accounts]]\naccess_token = \"t\"\ntime_zone = \"Mars/Olympus\"", "IANA"),
        (
            "[[hubspot.accounts]]\nportal_id = 1\naccess_token = \"t\"\n[[hubspot.accounts]]\nportal_id = 1\naccess_token = \"t\"",
            "hubspot.accounts[1].portal_id (ARCHIVER__HUBSPOT__ACCOUNTS__1__PORTAL_ID) is 1, as in an account before it",
        ),
        (
            "[[hubspot.accounts]]\nportal_id = 1\naccess_token = \"t\"\n[[hubspot.accounts]]\naccess_token = \"t\"",
            "hubspot.accounts[1].portal_id (ARCHIVER__HUBSPOT__ACCOUNTS__1__PORTAL_ID) is missing",
        ),
        (
            "[hubspot]\naccess_token = \"t\"\n[[hubspot.accounts]]\nportal_id = 1\naccess_token = \"t\"",
            "hubspot.access_token (ARCHIVER__HUBSPOT__ACCESS_TOKEN) is given beside [[hubspot.accounts]]",
        ),
        // The one that is set, and not its twin.
        (
            "[hubspot]\naccess_token_file = \"/t\"\n[[hubspot.accounts]]\nportal_id = 1\naccess_token = \"t\"",
            "hubspot.access_token_file (ARCHIVER__HUBSPOT__ACCESS_TOKEN_FILE) is given beside [[hubspot.accounts]]",
        ),
    ] {
        let error = complaint_about(text);
        assert!(error.contains(complaint), "{text}: {error}");
    }
    let gap = from_env(&[("ARCHIVER__HUBSPOT__ACCOUNTS__1__ACCESS_TOKEN", "t")]).unwrap_err().to_string();
    assert!(gap.contains("without a gap"), "{gap}");
    let nobody = from_env(&[]).unwrap().hubspot.accounts().unwrap_err().to_string();
    assert!(nobody.contains("hubspot.access_token_file"), "{nobody}");

    let text = format!("[[hubspot.accounts]]\n{oauth}\ntime_zone = \"Europe/Berlin\"\nrate_limit.daily = 9");
    let settings = from_text(&text).unwrap();
    let [account] = settings.hubspot.accounts().unwrap() else { panic!("one account") };
    assert!(matches!(&account.credentials, Credentials::OAuth(oauth) if oauth.client_id == "c"));
    assert_eq!(account.time_zone.as_ref().unwrap().iana_name(), Some("Europe/Berlin"));
    assert_eq!(account.rate_limit.daily.unwrap().get(), 9);
    assert_eq!(account.rate_limit.requests, settings.rate_limit.requests);
}

#[test]
fn plain_http_needs_the_loopback_or_consent() {
    for url in ["http://localhost:8080", "http://127.0.0.1:8080/hubspot", "http://[::1]:8080", "https://proxy.example"]
    {
        let settings = from_env(&[("ARCHIVER__HUBSPOT__BASE_URL", url)]).unwrap();
        assert!(settings.hubspot.base_url.join("crm").unwrap().as_str().starts_with(url), "{url}");
    }
    let consent = ("ARCHIVER__HUBSPOT__ALLOW_HTTP", "true");
    assert!(from_env(&[("ARCHIVER__HUBSPOT__BASE_URL", "http://proxy.example"), consent]).is_ok());
    for lookalike in ["http://localhost.example", "http://127.0.0.1.example", "http://10.0.0.1"] {
        assert!(from_env(&[("ARCHIVER__HUBSPOT__BASE_URL", lookalike)]).is_err(), "{lookalike}");
    }
}

#[test]
fn broker_certificates_are_read_and_need_tls() {
    let files = TempDir::new().unwrap();
    let pem = file(&files, "ca.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
    let other = file(&files, "other.pem", "not a certificate");
    let broker = |uri: &str, ca: &Path| {
        let ca = ca.to_str().unwrap();
        from_env(&[("ARCHIVER__AMQP__URI", uri), ("ARCHIVER__AMQP__CA_FILE", ca)]).unwrap().amqp.broker()
    };
    assert!(broker("amqps://broker", &pem).unwrap().ca_pem.unwrap().starts_with("-----BEGIN"));
    assert!(broker("amqp://broker", &pem).unwrap_err().to_string().contains("use amqps://"));
    assert!(broker("amqps://broker", &other).unwrap_err().to_string().contains("no PEM file"));
}

#[test]
fn a_client_key_that_cannot_be_used_is_told_apart() {
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let files = TempDir::new().unwrap();
    let cert = file(&files, "cert.pem", CERTIFICATE);
    let broker = |cert: &Path, key_pem: &str| {
        let key = file(&files, "key.pem", key_pem);
        let [cert, key] = [cert, &key].map(|path| path.to_str().unwrap());
        let variables = [
            ("ARCHIVER__AMQP__URI", "amqps://broker"),
            ("ARCHIVER__AMQP__CLIENT_CERT_FILE", cert),
            ("ARCHIVER__AMQP__CLIENT_KEY_FILE", key),
        ];
        from_env(&variables).unwrap().amqp.broker().map_err(|error| error.to_string())
    };
    for kind in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
        for mark in ["", "\u{feff}"] {
            let read = broker(&cert, &format!("{mark}-----BEGIN {kind}-----\nAA==\n-----END {kind}-----\n")).unwrap();
            assert!(read.client.unwrap().key_pem.expose_secret().starts_with("-----BEGIN"), "the mark is skipped");
        }
    }
    for encrypted in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END RSA PRIVATE KEY-----\n",
    ] {
        let error = broker(&cert, encrypted).unwrap_err();
        assert!(error.contains("amqp.client_key_file") && error.contains("encrypted: decrypt it"), "{error}");
    }
    let error = broker(&cert, CERTIFICATE).unwrap_err();
    assert!(error.contains("amqp.client_key_file") && error.contains("holds no private key"), "{error}");
    let key = file(&files, "alone.pem", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n");
    let error = broker(&key, "-----BEGIN PRIVATE KEY-----\n").unwrap_err();
    assert!(error.contains("amqp.client_cert_file") && error.contains("holds no certificate"), "{error}");
}

#[test]
fn variables_that_look_like_settings_and_are_not_read_are_named() {
    assert_eq!(from_env(&[("ARCHIVER__AMQP__PREFETCH", "5"), ("PATH", "/bin")]).unwrap().unread_variables, None);
    let misspelt = [
        ("ARCHIVER_HUBSPOT__PAUSED", "hunter2"),
        ("archiver__amqp__prefetch", "hunter2"),
        ("ARCHIVER_SERVICE_HOST", "10.0.0.1"),
        ("ARCHIVER_PORT_9090_TCP", "tcp://10.0.0.1:9090"),
        ("ARCHIVER__AMQP__PREFETCH", "5"),
        ("Archiver", "hunter2"),
    ];
    let settings = from_env(&misspelt).unwrap();
    let empty = from_env(&[("ARCHIVER__HUBSPOT__BASE_URL", "")]).unwrap();
    assert_eq!(empty.hubspot.base_url.as_str(), "https://api.hubapi.com/");
    let warning = empty.unread_variables.unwrap();
    assert!(warning.contains("ARCHIVER__HUBSPOT__BASE_URL is empty, which sets nothing"), "{warning}");
    let warning = settings.unread_variables.unwrap();
    assert!(warning.contains("ARCHIVER_HUBSPOT__PAUSED, Archiver, archiver__amqp__prefetch;"), "{warning}");
    assert!(!warning.contains("hunter2"), "{warning}");
    let many: Vec<_> = (10..30).map(|number| format!("ARCHIVER_{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    let warning = from_env(&many).unwrap().unread_variables.unwrap();
    assert!(warning.contains("ARCHIVER_19 and 10 more;"), "{warning}");
}

#[test]
fn a_credential_of_systemd_that_is_not_there_is_explained() {
    let path = "/run/credentials/association-archiver.service/hubspot-token-of-the-test";
    let settings = from_env(&[("ARCHIVER__HUBSPOT__ACCESS_TOKEN_FILE", path)]).unwrap();
    let error = settings.hubspot.accounts().unwrap_err().to_string();
    assert!(error.contains(path) && error.contains("while the unit runs"), "{error}");
}

#[test]
fn the_documented_defaults_are_the_built_in_ones() {
    let mut text = String::new();
    for doc in documented_settings().iter().filter(|doc| doc.has_default && !doc.key.contains("[]")) {
        text.push_str(&format!("{} = {}\n", doc.key, doc.value));
    }
    assert_eq!(format!("{:?}", from_text(&text).unwrap()), format!("{:?}", from_text("").unwrap()));
    let uri = from_text(&text).unwrap().amqp.uri.read().unwrap();
    assert_eq!(uri.expose_secret(), AmqpSettings::default().uri.read().unwrap().expose_secret());
}

#[test]
fn every_setting_is_documented_and_every_documented_one_exists() {
    let mut existing = Vec::new();
    let sections = known_in("unknown_key = 1");
    for section in sections {
        existing.extend(known_in(&format!("{section}.unknown_key = 1")));
    }
    let account = "access_token = \"t\"\n";
    for below in ["", "oauth.", "rate_limit.", "safety."] {
        existing.extend(known_in(&format!("[[hubspot.accounts]]\n{account}{below}unknown_key = 1")));
    }
    let sections = ["", "[].oauth", "[].rate_limit", "[].safety"].map(|below| format!("hubspot.accounts{below}"));
    existing.retain(|key| !sections.contains(key));
    existing.sort();
    let mut documented: Vec<String> = documented_settings().into_iter().map(|doc| doc.key).collect();
    documented.sort();
    assert_eq!(existing, documented);
    assert!(documented_settings().iter().all(|doc| !doc.meaning.is_empty()));
}

#[test]
fn the_documented_file_is_valid_before_and_after_uncommenting() {
    let commented = include_str!("../../config/default.toml");
    assert_eq!(format!("{:?}", from_text(commented).unwrap()), format!("{:?}", from_text("").unwrap()));
    let uncommented: String = commented.lines().map(|line| format!("{}\n", uncomment(line))).collect();
    let table = node::from_config(FileFormat::Toml.parse(None, &uncommented).unwrap(), &|origin, _| origin);
    let mut written = Vec::new();
    leaves(table, "", &mut written);
    written.sort();
    let mut documented: Vec<String> = documented_settings().into_iter().map(|doc| doc.key).collect();
    documented.sort();
    assert_eq!(written, documented);
}

/// A setting or a section header has no space after its `#`.
fn uncomment(line: &str) -> &str {
    line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)
}

fn leaves(table: node::Table, path: &str, found: &mut Vec<String>) {
    for (key, value) in table {
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        match value.kind {
            node::Kind::Table(table) => leaves(table, &path, found),
            node::Kind::List(items) if items.is_empty() => found.push(path),
            node::Kind::List(items) => {
                for item in items {
                    let node::Kind::Table(table) = item.kind else { panic!("{path} is a list of sections") };
                    leaves(table, &format!("{path}[]"), found);
                }
            }
            node::Kind::Text(_) | node::Kind::Scalar(_) | node::Kind::Unset => found.push(path),
        }
    }
}

/// The keys that could stand beside an unknown one, with `[]` for list entries.
fn known_in(text: &str) -> Vec<String> {
    match from_text(text).unwrap_err() {
        SettingsError::Unknown { known, .. } => known.iter().map(|key| key.replace("[0]", "[]")).collect(),
        other @ (SettingsError::File { .. } | SettingsError::Toml { .. } | SettingsError::Invalid { .. }) => {
            panic!("{text}: {other}")
        }
    }
}

fn token_of(account: &AccountSettings) -> String {
    match &account.credentials {
        Credentials::AccessToken(source) => source.read().unwrap().expose_secret().to_owned(),
        Credentials::OAuth(_) => panic!("an account with a token"),
    }
}

fn from_env(list: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::from_layers(&Layers { environment: variables(list), ..Layers::default() })
}

fn from_text(text: &str) -> Result<Settings, SettingsError> {
    let files = TempDir::new().unwrap();
    Settings::from_layers(&Layers { file: Some(file(&files, "worker.toml", text)), ..Layers::default() })
}

/// What is said about a file called `worker.toml` in the working directory.
fn complaint_about(text: &str) -> String {
    let files = TempDir::new().unwrap();
    let layers = Layers { file: Some(file(&files, "worker.toml", text)), ..Layers::default() };
    let error = Settings::from_layers(&layers).expect_err(text).to_string();
    error.replace(&format!("{}/", files.path().display()), "")
}

fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn file(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn an_account_changes_of_the_safety_what_it_names_and_keeps_the_rest() {
    let settings = from_text(
        r#"
        [safety]
        journal = "file"
        journal_file = "/var/lib/journal.ndjson"
        journal_max_age = "30d"
        [[hubspot.accounts]]
        portal_id = 1
        access_token = "a"
        [[hubspot.accounts]]
        portal_id = 2
        access_token = "b"
        safety.journal = "stream"
        safety.verify = true
        [[hubspot.accounts]]
        portal_id = 3
        access_token = "c"
        safety.journal = "off"
        "#,
    )
    .unwrap();
    let max_age = Duration::from_secs(30 * 86_400);
    let of = |index: usize| settings.hubspot.listed()[index].safety.clone();
    assert_eq!(of(0), settings.safety);
    assert_eq!(of(0).journal, JournalStore::File { path: "/var/lib/journal.ndjson".into(), max_age });
    let name = QueueName::new("association-archiver.journal").unwrap();
    assert_eq!((of(1).journal, of(1).verify), (JournalStore::Stream { name, max_age }, true));
    assert_eq!((of(2).journal, of(2).verify), (JournalStore::Off, false));
}

#[test]
fn a_journal_that_could_not_be_written_or_read_is_refused() {
    for (toml, complaint) in [
        ("safety.journal = \"file\"", "set safety.journal_file"),
        ("safety.journal = \"on\"", "must be \"off\" or \"stream\" or \"file\""),
        ("safety.journal_max_age = \"5m\"", "must be a duration from 1h"),
        ("safety.journal_stream = \"results\"", "choose another name"),
        ("safety.journal_stream = \"association-archiver.jobs.lease\"", "choose another name"),
        ("safety.journal_stream = \"association-archiver.dead-letters\"", "choose another name"),
        ("safety.journal_stream = \"amq.journal\"", "must not begin with"),
        ("[[hubspot.accounts]]\naccess_token = \"a\"\nsafety.journal = \"file\"", "set safety.journal_file"),
        ("[[hubspot.accounts]]\naccess_token = \"a\"\nsafety.journal_stream = \"jobs\"", "choose another name"),
    ] {
        let error = from_text(toml).unwrap_err().to_string();
        assert!(error.contains(complaint), "{toml}: {error}");
    }
}

#[test]
fn folded_types_are_two_that_differ() {
    let fold = |text: &str| from_text(&format!("[batch]\nfold = {text}"));
    assert_eq!(fold(r#"["contacts/companies", "2-1/deal"]"#).unwrap().batch.fold.len(), 2);
    let in_variables = from_env(&[("ARCHIVER__BATCH__FOLD__0", "contact/0-2")]).unwrap().batch;
    assert_eq!(in_variables.fold, fold(r#"["contacts/companies"]"#).unwrap().batch.fold);
    for (text, named) in [
        (r#""contacts/companies""#, "batch.fold"),
        (r#"["contacts/companies", "cars/contacts"]"#, "batch.fold[1]"),
        (r#"["contacts/0-1"]"#, "batch.fold[0]"),
        (r#"["contacts"]"#, "batch.fold[0]"),
        ("[1]", "batch.fold[0]"),
    ] {
        let error = fold(text).unwrap_err().to_string();
        assert!(error.contains(named) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn the_background_queue_is_named_after_the_jobs_queue_and_is_none_with_shards() {
    let account = "[hubspot]\naccess_token = \"t\"\n";
    let with = |text: &str| from_text(&format!("{text}\n{account}"));
    let name = |amqp: &str| with(amqp).unwrap().amqp.background().map(|queue| queue.as_str().to_owned());
    assert_eq!(name("").as_deref(), Ok("association-archiver.jobs.background"));
    assert_eq!(name("[amqp]\njobs_queue = \"j\"").as_deref(), Ok("j.background"));
    assert_eq!(name("[amqp]\nbackground_queue = \"slow\"").as_deref(), Ok("slow"));
    assert!(name("[amqp]\nbackground_queue = \"none\"").is_err());
    assert!(name("[amqp]\nshards = 2").unwrap_err().contains("amqp.shards"));
    let deserted = |amqp: &str| with(amqp).unwrap().amqp.deserted_background().map(|queue| queue.as_str().to_owned());
    assert_eq!(deserted(""), None);
    for without in ["shards = 2", "background_queue = \"none\""] {
        let name = deserted(&format!("[amqp]\n{without}"));
        assert_eq!(name.as_deref(), Some("association-archiver.jobs.background"));
    }
    assert!(name(&format!("[amqp]\njobs_queue = \"{}\"", "j".repeat(240))).unwrap_err().contains("too long"));

    let policy = with("[background]\nmin_share = 50\nwindow = \"22:00-06:00\"").unwrap().background.policy;
    assert_eq!((policy.min_share.percent(), policy.window.unwrap().to_string().as_str()), (50, "22:00-06:00"));
    for (text, says) in [
        ("[amqp]\nshards = 2\nbackground_queue = \"slow\"", "with amqp.shards no worker would take jobs from it"),
        ("[amqp]\nshards = 2\n[background]\nmin_share = 5", "background.min_share"),
        ("[amqp]\nbackground_queue = \"none\"\n[background]\nwindow = \"22:00-06:00\"", "background.window"),
        ("[amqp]\nbackground_queue = \"jobs\"", "routing key"),
        ("[amqp]\njobs_queue = \"jobs.background\"", "routing key"),
        ("[amqp]\nbackground_queue = \"association-archiver.jobs\"", "the queue of amqp.jobs_queue"),
        ("[amqp]\nbackground_queue = \"association-archiver.jobs.delay.1m\"", "choose another name"),
        ("[amqp]\nresults_queue = \"association-archiver.jobs.background\"", "amqp.background_queue"),
        ("[amqp]\nresults_queue = \"association-archiver.jobs.background.delay.1m\"", "choose another name"),
        ("[background]\nmin_share = 51", "from 0 to 50"),
        ("[background]\nwindow = \"22-6\"", "\"22:00-06:00\""),
        ("[background]\nwindow = \"22:00-22:00\"", "two different times"),
    ] {
        let error = with(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}
