//! Tokens from settings, files and refreshes, and whose they are.

use std::fs::{self, Permissions};
use std::num::NonZeroU64;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use association_archiver::config::{
    AccountSettings, Credentials, OAuthCredentials, RateLimit, SecretSource, SettingKey,
};
use association_archiver::contract::ids::{AccountIndex, PortalId};
use association_archiver::engine::command::{IdentityReply, RefreshReply};
use association_archiver::hubspot::bearer::BearerToken;
use association_archiver::hubspot::credentials::{CredentialStore, Refreshed};
use association_archiver::hubspot::identity::identify;
use association_archiver::hubspot::introspection::{Introspection, TokenFacts};
use association_archiver::hubspot::news::CredentialNews;
use association_archiver::hubspot::watch::watch;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::far_end::{DEADLINE, FarEnd, TOKEN, answer, client};

pub const FIRST: AccountIndex = AccountIndex(0);
pub const CLIENT_ID: &str = "app one";
pub const CLIENT_SECRET: &str = "client-secret-1";
pub const REFRESH_TOKEN: &str = "refresh-token-1";
const ROTATED: &str =
    r#"{"access_token":"access-token-1","refresh_token":"refresh-token-2","expires_in":1800,"hub_id":4711}"#;

#[tokio::test]
async fn an_inline_token_stays_and_an_unknown_account_has_none() {
    let account = with_token(SecretSource::inline(SettingKey::new("hubspot.access_token"), TOKEN.into()));
    let store = CredentialStore::new(&[account]).unwrap();
    assert_eq!(store.token(FIRST), BearerToken::new(&TOKEN.into()));
    assert!(!store.reread(FIRST).await.unwrap());
    assert_eq!(store.token(AccountIndex(1)), None);
    assert!(!store.reread(AccountIndex(1)).await.unwrap());
}

#[tokio::test]
async fn a_token_file_that_changed_is_found_by_reading_it_again() {
    let folder = TempDir::new().unwrap();
    let store = CredentialStore::new(&[with_token(token_file(&folder, "first"))]).unwrap();
    assert!(!store.reread(FIRST).await.unwrap());

    fs::write(folder.path().join("token"), "second\n").unwrap();
    assert!(store.reread(FIRST).await.unwrap());
    assert_eq!(store.token(FIRST), BearerToken::new(&"second".into()));
    assert!(!store.reread(FIRST).await.unwrap(), "the same as just now");

    fs::write(folder.path().join("token"), "two words").unwrap();
    let error = store.reread(FIRST).await.unwrap_err().to_string();
    assert!(error.contains("hubspot.access_token_file") && !error.contains("words"), "{error}");
    assert_eq!(store.token(FIRST), BearerToken::new(&"second".into()), "the old one goes on");
}

#[tokio::test]
async fn one_watch_finds_the_changed_one_among_a_thousand_accounts() {
    let folder = TempDir::new().unwrap();
    let accounts: Vec<AccountSettings> = (0..1_000)
        .map(|i| {
            let path = folder.path().join(i.to_string());
            fs::write(&path, format!("token-{i}")).unwrap();
            with_token(SecretSource::file(SettingKey::new("hubspot.access_token_file"), path))
        })
        .collect();
    let store = CredentialStore::new(&accounts).unwrap();
    let mut news = watched(&store);

    fs::write(folder.path().join("700"), "changed").unwrap();
    assert!(matches!(next(&mut news).await, CredentialNews::Changed(AccountIndex(700))));
    assert_eq!(store.token(AccountIndex(700)), BearerToken::new(&"changed".into()), "before it is said");

    fs::remove_file(folder.path().join("3")).unwrap();
    match next(&mut news).await {
        CredentialNews::Unreadable { account: AccountIndex(3), fault } => {
            assert!(fault.to_string().contains("hubspot.access_token_file"), "{fault}");
        }
        other => panic!("{other:?}"),
    }
    // Neither the change nor the missing file is said again before the next news.
    fs::write(folder.path().join("3"), "back, changed".replace(", ", "-")).unwrap();
    assert!(matches!(next(&mut news).await, CredentialNews::Changed(AccountIndex(3))));
}

#[tokio::test]
async fn the_watch_ends_with_its_receiver() {
    let account = with_token(SecretSource::inline(SettingKey::new("hubspot.access_token"), TOKEN.into()));
    let (sender, receiver) = mpsc::channel(1);
    let watching = tokio::spawn(watch(CredentialStore::new(&[account]).unwrap(), sender));
    drop(receiver);
    timeout(DEADLINE, watching).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_refresh_gives_a_token_and_keeps_the_changed_refresh_token() {
    let far_end = FarEnd::answering(answer(200, "", ROTATED)).await;
    let account = OAuthFiles::new();
    fs::set_permissions(account.refresh_token(), Permissions::from_mode(0o640)).unwrap();
    let store = account.store();
    assert_eq!(store.token(FIRST), None);

    assert_eq!(store.refresh(&far_end.client(), FIRST).await, granted());
    assert_eq!(store.token(FIRST), BearerToken::new(&"access-token-1".into()));
    let [seen] = far_end.seen().try_into().unwrap();
    assert!(seen.head.starts_with("POST /oauth/2026-03/token HTTP/1.1\r\n"), "{}", seen.head);
    assert!(seen.head.to_ascii_lowercase().contains("content-type: application/x-www-form-urlencoded\r\n"));
    assert!(!seen.head.to_ascii_lowercase().contains("authorization"), "{}", seen.head);
    let form = "grant_type=refresh_token&client_id=app+one&client_secret=client-secret-1&refresh_token=refresh-token-1";
    assert_eq!(seen.body, form);

    assert_eq!(fs::read_to_string(account.refresh_token()).unwrap(), "refresh-token-2\n");
    assert_eq!(fs::metadata(account.refresh_token()).unwrap().mode() & 0o777, 0o640);
    assert!(!store.reread(FIRST).await.unwrap(), "our own writing is no change");

    store.refresh(&far_end.client(), FIRST).await;
    assert!(far_end.seen()[1].body.ends_with("refresh_token=refresh-token-2"), "{:?}", far_end.seen());
}

#[tokio::test]
async fn an_operators_change_is_news_and_our_own_writing_is_not() {
    let far_end = FarEnd::answering(answer(200, "", ROTATED)).await;
    let account = OAuthFiles::new();
    let store = account.store();
    let mut news = watched(&store);

    assert_eq!(store.refresh(&far_end.client(), FIRST).await, granted());
    fs::write(account.client_secret(), "client-secret-2").unwrap();
    assert!(matches!(next(&mut news).await, CredentialNews::Changed(FIRST)));
    assert!(store.token(FIRST).is_some(), "the old token holds until there is another");

    store.refresh(&far_end.client(), FIRST).await;
    let last = far_end.seen().pop().unwrap();
    assert!(last.body.contains("client_secret=client-secret-2&refresh_token=refresh-token-2"), "{last:?}");
    assert!(news.try_recv().is_err(), "one change, one piece of news");
}

#[tokio::test]
async fn a_refresh_token_that_cannot_be_written_is_kept_and_warned_of_once() {
    let far_end = FarEnd::in_turn(vec![
        answer(200, "", ROTATED),
        answer(200, "", &ROTATED.replace("-2", "-3")),
        answer(200, "", &ROTATED.replace("-2", "-4")),
    ])
    .await;
    let account = OAuthFiles::new();
    fs::set_permissions(account.refresh_token(), Permissions::from_mode(0o444)).unwrap();
    let store = account.store();

    let Refreshed { reply, warning } = store.refresh(&far_end.client(), FIRST).await;
    assert_eq!(reply, granted().reply);
    let warning = warning.expect("a warning");
    assert!(warning.contains("oauth.refresh_token_file") && warning.contains("read-only"), "{warning}");
    assert_no_secret(&warning);
    assert_eq!(fs::read_to_string(account.refresh_token()).unwrap(), format!("{REFRESH_TOKEN}\n"));

    assert_eq!(store.refresh(&far_end.client(), FIRST).await, granted(), "said before");
    assert!(far_end.seen()[1].body.ends_with("refresh_token=refresh-token-2"), "the new one is used all the same");
    assert!(!store.reread(FIRST).await.unwrap(), "the file is as it was");

    fs::set_permissions(account.refresh_token(), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(store.refresh(&far_end.client(), FIRST).await, granted());
    assert_eq!(fs::read_to_string(account.refresh_token()).unwrap(), "refresh-token-4\n", "caught up");
}

/// HubSpot may take the old token no more, so the new one must be there before a restart, not after the next refresh.
#[tokio::test]
async fn a_refresh_token_that_could_not_be_written_is_written_as_soon_as_it_can_be() {
    let far_end = FarEnd::answering(answer(200, "", ROTATED)).await;
    let account = OAuthFiles::new();
    let file = account.refresh_token();
    fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
    let store = account.store();
    store.refresh(&far_end.client(), FIRST).await.warning.expect("a warning");
    let (sender, mut news) = mpsc::channel(1);
    let watching = tokio::spawn(watch(store, sender));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    harness::eventually(DEADLINE, "the new token in its file", async || {
        Ok((fs::read_to_string(&file)? == "refresh-token-2\n").then_some(()))
    })
    .await
    .unwrap();
    assert!(news.try_recv().is_err(), "what was written here is no news");
    watching.abort();
}

#[tokio::test]
async fn an_inline_refresh_token_that_changed_is_warned_of() {
    let far_end = FarEnd::answering(answer(200, "", ROTATED)).await;
    let inline = |key: &str, secret: &str| SecretSource::inline(SettingKey::new(key), secret.into());
    let store = CredentialStore::new(&[oauth(OAuthCredentials {
        client_id: "app".to_owned(),
        client_secret: inline("hubspot.accounts[0].oauth.client_secret", CLIENT_SECRET),
        refresh_token: inline("hubspot.accounts[0].oauth.refresh_token", REFRESH_TOKEN),
    })])
    .unwrap();
    let warning = store.refresh(&far_end.client(), FIRST).await.warning.expect("a warning");
    assert!(warning.contains("hubspot.accounts[0].oauth.refresh_token"), "{warning}");
    assert_no_secret(&warning);
}

#[tokio::test]
async fn a_refused_refresh_names_the_setting_and_no_secret() {
    let echo = |error: &str| {
        format!(
            r#"{{"error":"{error}","status":"BAD_REFRESH_TOKEN","message":"{REFRESH_TOKEN} of {CLIENT_SECRET} is unknown"}}"#
        )
    };
    let far_end = FarEnd::answering(answer(400, "", &echo("invalid_grant"))).await;
    let store = OAuthFiles::new().store();
    match store.refresh(&far_end.client(), FIRST).await.reply {
        RefreshReply::Refused { detail } => {
            assert!(detail.contains("400 BAD_REFRESH_TOKEN"), "{detail}");
            assert!(detail.contains("hubspot.accounts[0].oauth.refresh_token_file"), "{detail}");
            assert_no_secret(&detail);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.token(FIRST), None);
}

#[tokio::test]
async fn a_refresh_that_fails_for_now_says_how_long_to_wait() {
    let account = OAuthFiles::new();
    let store = account.store();
    for (answer, expected) in [
        (answer(503, "retry-after: 9\r\n", ""), Some(Duration::from_secs(9))),
        (answer(429, "", ""), None),
        (answer(200, "", "<html>"), None),
        ("garbage\r\n\r\n".to_owned(), None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\nconnection: close\r\n\r\n{\"access".to_owned(), None),
    ] {
        let text = answer.clone();
        let far_end = FarEnd::start(move |mut peer| {
            let text = text.clone();
            async move {
                peer.request().await?;
                peer.stream.write_all(text.as_bytes()).await
            }
        })
        .await;
        match store.refresh(&far_end.client(), FIRST).await.reply {
            RefreshReply::Failed { detail, wait } => {
                assert_eq!(wait, expected, "{answer}");
                assert_no_secret(&detail);
            }
            other => panic!("{answer}: {other:?}"),
        }
    }
    let closed = client("http://127.0.0.1:1", Duration::from_secs(1));
    assert!(matches!(store.refresh(&closed, FIRST).await.reply, RefreshReply::Failed { .. }));
}

#[tokio::test]
async fn a_grant_for_secrets_that_were_changed_meanwhile_is_not_used() {
    let asked = std::sync::Arc::new(Notify::new());
    let changed = std::sync::Arc::new(Notify::new());
    let (asked_there, changed_there) = (asked.clone(), changed.clone());
    let far_end = FarEnd::start(move |mut peer| {
        let (asked, changed) = (asked_there.clone(), changed_there.clone());
        async move {
            peer.request().await?;
            asked.notify_one();
            changed.notified().await;
            peer.stream.write_all(answer(200, "", ROTATED).as_bytes()).await
        }
    })
    .await;
    let account = OAuthFiles::new();
    let store = account.store();
    let client = far_end.client();
    let refresh = store.refresh(&client, FIRST);
    let change = async {
        asked.notified().await;
        fs::write(account.refresh_token(), "theirs\n").unwrap();
        assert!(store.reread(FIRST).await.unwrap());
        changed.notify_one();
    };
    let (refreshed, ()) = tokio::join!(refresh, change);

    assert!(matches!(refreshed.reply, RefreshReply::Failed { wait: Some(Duration::ZERO), .. }), "{refreshed:?}");
    assert_eq!(store.token(FIRST), None);
    assert_eq!(fs::read_to_string(account.refresh_token()).unwrap(), "theirs\n", "not overwritten");
}

#[tokio::test]
async fn hubspot_tells_whose_token_it_is() {
    let details = r#"{"portalId":4711,"timeZone":"Europe/Berlin","accountType":"STANDARD"}"#;
    let far_end = FarEnd::answering(answer(200, "", details)).await;
    let token = BearerToken::new(&TOKEN.into()).unwrap();
    match identify(&far_end.client(), &token).await {
        IdentityReply::Told { portal, time_zone } => {
            assert_eq!(portal.get(), 4711);
            assert_eq!(time_zone.unwrap().iana_name(), Some("Europe/Berlin"));
        }
        other => panic!("{other:?}"),
    }
    let [seen] = far_end.seen().try_into().unwrap();
    assert!(seen.head.starts_with("GET /account-info/v3/details HTTP/1.1\r\n"), "{}", seen.head);
    assert!(seen.head.contains(TOKEN));

    let refusal = format!(r#"{{"message":"{TOKEN} may not","category":"MISSING_SCOPES"}}"#);
    let far_end = FarEnd::answering(answer(403, "", &refusal)).await;
    match identify(&far_end.client(), &token).await {
        IdentityReply::WillNotTell { detail } => {
            assert!(detail.contains("403 MISSING_SCOPES") && !detail.contains(TOKEN), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    let closed = client("http://127.0.0.1:1", Duration::from_secs(1));
    assert!(matches!(identify(&closed, &token).await, IdentityReply::Failed { wait: None, .. }));
}

#[tokio::test]
async fn a_token_is_looked_up_where_its_kind_is_known() {
    let private = with_token(SecretSource::inline(SettingKey::new("hubspot.access_token"), TOKEN.into()));
    let store = CredentialStore::new(&[private]).unwrap();
    let far_end = FarEnd::answering(answer(200, "", r#"{"hubId":4711,"scopes":["oauth"]}"#)).await;
    let facts = |active| TokenFacts { active, portal: portal(), scopes: vec!["oauth".to_owned()] };
    assert_eq!(store.introspect(&far_end.client(), FIRST).await, Introspection::Told(facts(None)));
    let [seen] = far_end.seen().try_into().unwrap();
    assert!(seen.head.starts_with("POST /oauth/v2/private-apps/get/access-token-info "), "{}", seen.head);
    assert_eq!(seen.body, format!(r#"{{"tokenKey":"{TOKEN}"}}"#));

    let account = OAuthFiles::new();
    let store = account.store();
    let far_end = FarEnd::in_turn(vec![
        answer(200, "", ROTATED),
        answer(200, "", r#"{"active":true,"hub_id":4711,"scopes":["oauth"],"token":"access-token-1"}"#),
        answer(400, "", r#"{"message":"access-token-1 of client-secret-1 is bad"}"#),
    ])
    .await;
    let client = far_end.client();
    assert!(matches!(store.introspect(&client, FIRST).await, Introspection::Failed { .. }), "no token yet");
    store.refresh(&client, FIRST).await;
    assert_eq!(store.introspect(&client, FIRST).await, Introspection::Told(facts(Some(true))));
    let seen = far_end.seen().pop().unwrap();
    assert!(seen.head.starts_with("POST /oauth/2026-03/token/introspect "), "{}", seen.head);
    match store.introspect(&client, FIRST).await {
        Introspection::WillNotTell { detail } => assert_no_secret(&detail),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_here_shows_a_secret() {
    let far_end = FarEnd::answering(answer(200, "", &ROTATED.replace("-2", "-1"))).await;
    let store = OAuthFiles::new().store();
    let refreshed = store.refresh(&far_end.client(), FIRST).await;
    let shown = format!("{store:?} {refreshed:?} {:?} {:?}", store.token(FIRST), far_end.client());
    assert_no_secret(&shown);
    assert!(shown.contains("OAuth"), "it shows something: {shown}");
}

/// The two files of an OAuth account.
pub struct OAuthFiles {
    folder: TempDir,
}

impl OAuthFiles {
    pub fn new() -> Self {
        let files = Self { folder: TempDir::new().unwrap() };
        fs::write(files.client_secret(), CLIENT_SECRET).unwrap();
        fs::write(files.refresh_token(), format!("{REFRESH_TOKEN}\n")).unwrap();
        files
    }

    fn client_secret(&self) -> PathBuf {
        self.folder.path().join("client-secret")
    }

    pub fn refresh_token(&self) -> PathBuf {
        self.folder.path().join("refresh-token")
    }

    pub fn store(&self) -> CredentialStore {
        let file = |key: &str, path: &Path| SecretSource::file(SettingKey::new(key), path.to_owned());
        CredentialStore::new(&[oauth(OAuthCredentials {
            client_id: CLIENT_ID.to_owned(),
            client_secret: file("hubspot.accounts[0].oauth.client_secret_file", &self.client_secret()),
            refresh_token: file("hubspot.accounts[0].oauth.refresh_token_file", &self.refresh_token()),
        })])
        .unwrap()
    }
}

fn watched(store: &CredentialStore) -> mpsc::Receiver<CredentialNews> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(watch(store.clone(), sender));
    receiver
}

async fn next(news: &mut mpsc::Receiver<CredentialNews>) -> CredentialNews {
    timeout(DEADLINE, news.recv()).await.expect("news in time").expect("the watch goes on")
}

fn granted() -> Refreshed {
    let reply = RefreshReply::Granted { expires_in: Duration::from_secs(1_800), portal: portal() };
    Refreshed { reply, warning: None }
}

fn portal() -> Option<PortalId> {
    NonZeroU64::new(4711).map(PortalId)
}

fn with_token(source: SecretSource) -> AccountSettings {
    AccountSettings::with_token(source, RateLimit::default())
}

fn oauth(credentials: OAuthCredentials) -> AccountSettings {
    let placeholder = SecretSource::inline(SettingKey::new("hubspot.access_token"), "unused".into());
    AccountSettings { credentials: Credentials::OAuth(credentials), ..with_token(placeholder) }
}

fn token_file(folder: &TempDir, text: &str) -> SecretSource {
    let path = folder.path().join("token");
    fs::write(&path, text).unwrap();
    SecretSource::file(SettingKey::new("hubspot.access_token_file"), path)
}

/// Every secret of these tests has one of these in it.
fn assert_no_secret(text: &str) {
    for secret in ["refresh-token-", "access-token-", "client-secret-", TOKEN] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}
