//! The HubSpot edge against HubSpot as the simulator knows it: what was archived is gone, and nothing else.

use std::fs;
use std::num::NonZeroU64;
use std::time::Duration;

use association_archiver::config::ApiVersion;
use association_archiver::contract::association::{Extent, Label, LabelCategory};
use association_archiver::engine::command::{IdentityReply, RefreshReply};
use association_archiver::engine::verdict::{AccountPauseKind, Judgement, judge};
use association_archiver::hubspot::bearer::BearerToken;
use association_archiver::hubspot::client::HubspotClient;
use association_archiver::hubspot::identity::identify;
use association_archiver::hubspot::introspection::Introspection;
use hubspot_simulator::association::Associations;
use hubspot_simulator::oauth::OAuth;
use hubspot_simulator::world::DEFAULT_PORTAL;
use hubspot_simulator::{Account, Lane, Simulator, World};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::credentials::{CLIENT_ID, CLIENT_SECRET, FIRST, OAuthFiles, REFRESH_TOKEN};
use crate::far_end::{TOKEN, archive, call, client, settings};

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn every_version_of_the_api_archives_the_pairs_of_the_batch() {
    for version in [ApiVersion::V4, ApiVersion::March2026, ApiVersion::September2026] {
        let simulator = Simulator::start(World::new(1, Timestamp::now())).await.unwrap();
        let reply = archive(&speaking(version, &simulator)).await;
        assert_eq!(judge(&reply, &call().pairs), Judgement::Archived, "{version:?}");

        let world = simulator.world();
        let associations = &world.account(DEFAULT_PORTAL).unwrap().associations;
        let left: Vec<u64> = (1..5).filter(|&to| associations.exists(&lane(), 1, to)).collect();
        assert_eq!(left, [1, 4], "{version:?}");
        assert_eq!(associations.times_archived(&lane(), 1, 2), 1);
    }
}

#[tokio::test]
async fn every_version_of_the_api_removes_only_the_labels_that_are_named() {
    for version in [ApiVersion::V4, ApiVersion::March2026, ApiVersion::September2026] {
        let mut world = World::new(1, Timestamp::now());
        let associations = &mut world.account_mut(DEFAULT_PORTAL).unwrap().associations;
        *associations = Associations::none();
        associations.create(&lane(), 1, 2, &[simulated(37), simulated(38)]);
        associations.create(&lane(), 1, 3, &[simulated(37)]);
        let simulator = Simulator::start(world).await.unwrap();

        let label = Label { category: LabelCategory::UserDefined, type_id: NonZeroU64::new(37).unwrap() };
        let mut call = call();
        call.lane.extent = Extent::Labels([label].into());
        let token = BearerToken::new(&TOKEN.into()).unwrap();
        let reply = speaking(version, &simulator).send_batch(&call, &token).await;
        assert_eq!(judge(&reply, &call.pairs), Judgement::Archived, "{version:?}");

        let world = simulator.world();
        let associations = &world.account(DEFAULT_PORTAL).unwrap().associations;
        let labels = &associations.of(&lane(), 1)[&2];
        assert!(labels.contains(&simulated(38)) && !labels.contains(&simulated(37)), "{version:?}: {labels:?}");
        assert_eq!(associations.times_label_removed(&lane(), 1, 3, simulated(37)), 1);
    }
}

#[tokio::test]
async fn an_oauth_account_lives_on_refreshes_that_change_its_refresh_token() {
    let mut oauth = OAuth::new(CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN);
    oauth.rotate = true;
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let account = Account { oauth: Some(oauth), time_zone: berlin.clone(), ..Account::new(DEFAULT_PORTAL) };
    let world = World::with_accounts(1, Timestamp::now(), vec![account]);
    let simulator = Simulator::start(world).await.unwrap();
    let client = client(&simulator.base_url(), TIMEOUT);
    let files = OAuthFiles::new();
    let store = files.store();

    for _ in 0..3 {
        let refreshed = store.refresh(&client, FIRST).await;
        assert!(matches!(refreshed.reply, RefreshReply::Granted { portal: Some(_), .. }), "{refreshed:?}");
        assert_eq!(refreshed.warning, None);
        let token = store.token(FIRST).unwrap();
        let reply = client.send_batch(&call(), &token).await;
        assert_eq!(judge(&reply, &call().pairs), Judgement::Archived);
    }
    let portal = NonZeroU64::new(DEFAULT_PORTAL).unwrap();
    let told = IdentityReply::Told { portal, time_zone: Some(berlin) };
    assert_eq!(identify(&client, &store.token(FIRST).unwrap()).await, told);
    match store.introspect(&client, FIRST).await {
        Introspection::Told(facts) => assert_eq!(facts.active, Some(true)),
        other => panic!("{other:?}"),
    }

    // A process that starts anew has what the last one wrote.
    let kept = fs::read_to_string(files.refresh_token()).unwrap();
    assert_ne!(kept.trim_end(), REFRESH_TOKEN);
    let refreshed = files.store().refresh(&client, FIRST).await;
    assert!(matches!(refreshed.reply, RefreshReply::Granted { .. }), "{refreshed:?}");

    let refused = store.refresh(&client, FIRST).await.reply;
    assert!(matches!(refused, RefreshReply::Refused { .. }), "its refresh token is spent by the other: {refused:?}");
}

#[tokio::test]
async fn a_token_of_nobody_pauses_the_account() {
    let account = Account::new(DEFAULT_PORTAL).with_token("another");
    let world = World::with_accounts(1, Timestamp::now(), vec![account]);
    let simulator = Simulator::start(world).await.unwrap();
    let reply = archive(&client(&simulator.base_url(), TIMEOUT)).await;
    match judge(&reply, &call().pairs) {
        Judgement::PauseAccount(pause) => assert_eq!(pause.kind, AccountPauseKind::TokenInvalid),
        other => panic!("{other:?}"),
    }
}

fn speaking(api_version: ApiVersion, simulator: &Simulator) -> HubspotClient {
    let mut settings = settings(&simulator.base_url(), TIMEOUT);
    settings.api_version = api_version;
    HubspotClient::new(&settings).unwrap()
}

fn lane() -> Lane {
    Lane::parse("contacts", "companies").unwrap()
}

fn simulated(type_id: u32) -> hubspot_simulator::association::Label {
    let category = hubspot_simulator::association::LabelCategory::UserDefined;
    hubspot_simulator::association::Label { category, type_id }
}
