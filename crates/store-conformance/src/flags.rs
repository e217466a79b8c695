//! The stored feature flags and their history.

use macro_rules_attribute::apply;
use reelshift_plan::{Flag, FlagAction, Rollout};
use reelshift_store::flags::{FlagSetting, StoredFlag};
use reelshift_store::{SharedStore, StoreError};

use crate::Fixture;
use crate::arrange::{expanded, steadily};

const INITIAL: [(Flag, bool); 4] = [
    (Flag::EnhancedVideoProcessing, false),
    (Flag::RealtimeNotifications, true),
    (Flag::AdvancedErrorHandling, false),
    (Flag::PerformanceMonitoring, true),
];

async fn stored(store: &SharedStore) -> Vec<StoredFlag> {
    store.flags().await.expect("flags are read").expect("the table is there")
}

async fn rollouts(store: &SharedStore) -> Vec<(Flag, Rollout)> {
    stored(store).await.into_iter().map(|stored| (stored.flag, stored.rollout)).collect()
}

fn setting(flag: Flag, enabled: bool, percent: Option<u8>) -> FlagSetting {
    FlagSetting { flag, enabled, percent, expected: None }
}

#[apply(behaviour!)]
async fn without_their_table_there_are_no_flags(db: &dyn Fixture) {
    assert_eq!(db.store().await.flags().await.expect("no error"), None);
    assert_eq!(stored(&expanded(db).await).await, [], "expand by itself stores none");
}

#[apply(behaviour!)]
async fn initial_values_are_stored_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    let partly = store.store_initial_flags(&INITIAL[1..2], "first@host").await.expect("stored");
    assert_eq!(partly, [Flag::RealtimeNotifications]);
    let other = INITIAL.map(|(flag, enabled)| (flag, !enabled));
    let mut rest = store.store_initial_flags(&other, "second@host").await.expect("stored");
    rest.sort_by_key(|flag| Flag::ALL.iter().position(|other| other == flag));
    assert_eq!(
        rest,
        [Flag::EnhancedVideoProcessing, Flag::AdvancedErrorHandling, Flag::PerformanceMonitoring]
    );
    assert_eq!(store.store_initial_flags(&INITIAL, "third@host").await.expect("no error"), []);

    let flags = stored(&store).await;
    assert_eq!(flags.iter().map(|stored| stored.flag).collect::<Vec<_>>(), Flag::ALL);
    let enabled: Vec<_> = flags.iter().map(|stored| stored.rollout.enabled).collect();
    assert_eq!(enabled, [true, true, true, false]);
    assert!(flags.iter().all(|stored| stored.rollout.percent == 100));
    assert_eq!(flags[1].updated_by, "first@host");
    let changes = store.flag_changes(10).await.expect("the history");
    assert_eq!(changes.len(), 4);
    assert!(
        changes
            .iter()
            .all(|change| { change.action == FlagAction::Initial && change.previous.is_none() })
    );
}

#[apply(behaviour!)]
async fn a_flag_is_set_with_who_and_when(db: &dyn Fixture) {
    let store = expanded(db).await;
    store.store_initial_flags(&INITIAL, "init@host").await.expect("stored");
    let before = store.ledger_report(1).await.expect("a report").at;
    let flag = Flag::EnhancedVideoProcessing;
    let changes = store
        .set_flags(FlagAction::Rollout, &[setting(flag, true, Some(25))], Some("why"), "ops é@host")
        .await
        .expect("set");
    assert_eq!(changes.len(), 1);
    let change = &changes[0];
    assert_eq!((change.flag, change.action), (flag, FlagAction::Rollout));
    assert_eq!(change.rollout, Rollout { enabled: true, percent: 25 });
    assert_eq!(change.previous, Some(Rollout::OFF));
    assert_eq!(change.changed_by, "ops é@host");
    assert!((change.changed_at - before).num_seconds().abs() < 60, "the database's clock");
    let flags = stored(&store).await;
    assert_eq!(flags[0].rollout, change.rollout);
    assert_eq!(flags[0].updated_by, change.changed_by);
    assert_eq!(flags[0].updated_at, change.changed_at);
    assert_eq!(flags[1].updated_by, "init@host", "the others are as they were");
    assert_eq!(store.flag_changes(1).await.expect("the history"), changes);
}

#[apply(behaviour!)]
async fn a_flag_that_is_not_stored_is_set(db: &dyn Fixture) {
    let store = expanded(db).await;
    let settings = [setting(Flag::RealtimeNotifications, false, None)];
    let changes = store.set_flags(FlagAction::Disable, &settings, None, "ops").await.expect("set");
    assert_eq!((changes[0].rollout, changes[0].previous), (Rollout::OFF, None));
    assert_eq!(rollouts(&store).await, [(Flag::RealtimeNotifications, Rollout::OFF)]);
}

#[apply(behaviour!)]
async fn a_percentage_stays_where_none_is_given(db: &dyn Fixture) {
    let store = expanded(db).await;
    let flag = Flag::AdvancedErrorHandling;
    for (action, setting) in [
        (FlagAction::Rollout, setting(flag, true, Some(0))),
        (FlagAction::Disable, setting(flag, false, None)),
    ] {
        store.set_flags(action, &[setting], None, "ops").await.expect("set");
    }
    let expected = Rollout { enabled: false, percent: 0 };
    assert_eq!(rollouts(&store).await, [(flag, expected)]);
    let changes = store.flag_changes(10).await.expect("the history");
    assert_eq!(changes[0].previous, Some(Rollout { enabled: true, percent: 0 }));
}

#[apply(behaviour!)]
async fn several_flags_are_set_together_or_not_at_all(db: &dyn Fixture) {
    let store = expanded(db).await;
    let all = Flag::ALL.map(|flag| (flag, true));
    store.store_initial_flags(&all, "init").await.expect("stored");
    let too_much = [
        setting(Flag::EnhancedVideoProcessing, false, None),
        setting(Flag::RealtimeNotifications, true, Some(101)),
    ];
    let refused = store.set_flags(FlagAction::Rollout, &too_much, None, "ops").await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    assert!(rollouts(&store).await.iter().all(|(_, rollout)| *rollout == Rollout::ON));
    assert_eq!(store.flag_changes(10).await.expect("the history").len(), 4);

    let off = Flag::EMERGENCY.map(|flag| setting(flag, false, None));
    let changes =
        store.set_flags(FlagAction::EmergencyDisable, &off, None, "ops").await.expect("set");
    assert_eq!(changes.iter().map(|change| change.flag).collect::<Vec<_>>(), Flag::EMERGENCY);
    let enabled: Vec<_> =
        rollouts(&store).await.iter().map(|(_, rollout)| rollout.enabled).collect();
    assert_eq!(enabled, [false, false, false, true]);
}

#[apply(behaviour!)]
async fn the_newest_changes_come_first(db: &dyn Fixture) {
    let store = expanded(db).await;
    for percent in 1..=5 {
        let settings = [setting(Flag::EnhancedVideoProcessing, true, Some(percent))];
        store.set_flags(FlagAction::Rollout, &settings, None, "ops").await.expect("set");
    }
    let changes = store.flag_changes(3).await.expect("the history");
    let percents: Vec<_> = changes.iter().map(|change| change.rollout.percent).collect();
    assert_eq!(percents, [5, 4, 3]);
}

#[apply(behaviour!)]
async fn flags_of_other_versions_are_passed_over(db: &dyn Fixture) {
    let store = expanded(db).await;
    store.store_initial_flags(&INITIAL, "init").await.expect("stored");
    for table in ["reelshift_flags", "reelshift_audit"] {
        db.execute(&format!(
            "UPDATE {table} SET name = 'turbo' WHERE name = 'realtime_notifications'"
        ))
        .await;
    }
    let expected =
        [Flag::EnhancedVideoProcessing, Flag::AdvancedErrorHandling, Flag::PerformanceMonitoring];
    let found: Vec<_> = rollouts(&store).await.iter().map(|(flag, _)| *flag).collect();
    assert_eq!(found, expected);
    assert_eq!(store.flag_changes(10).await.expect("the history").len(), 3);
}

#[apply(behaviour!)]
async fn a_long_name_is_cut(db: &dyn Fixture) {
    let store = expanded(db).await;
    let by = "é".repeat(300);
    store.store_initial_flags(&INITIAL[..1], &by).await.expect("stored");
    let settings = [setting(Flag::EnhancedVideoProcessing, true, None)];
    store.set_flags(FlagAction::Enable, &settings, None, &by).await.expect("set");
    assert_eq!(stored(&store).await[0].updated_by.chars().count(), 255);
}

#[apply(behaviour!)]
async fn operators_at_once_are_all_recorded(db: &dyn Fixture) {
    let mut stores = vec![expanded(db).await];
    stores[0].store_initial_flags(&INITIAL, "init").await.expect("stored");
    for _ in 1..6 {
        stores.push(db.store().await);
    }
    let operators = (0..6_u8).zip(&stores).map(|(n, store)| async move {
        let mut settings = Flag::EMERGENCY.map(|flag| setting(flag, true, Some(n)));
        if n % 2 == 0 {
            settings.reverse();
        }
        let set = async || store.set_flags(FlagAction::Rollout, &settings, None, "ops").await;
        steadily("flags are set", set).await;
    });
    futures::future::join_all(operators).await;
    let store = &stores[0];
    let percents: Vec<_> =
        rollouts(store).await.iter().take(3).map(|(_, rollout)| rollout.percent).collect();
    assert!(percents.iter().all(|percent| *percent == percents[0]), "one operator's: {percents:?}");
    let changes = store.flag_changes(100).await.expect("the history");
    assert_eq!(changes.len(), 4 + 6 * 3);
    for flag in Flag::EMERGENCY {
        let of_flag: Vec<_> = changes.iter().filter(|change| change.flag == flag).collect();
        for pair in of_flag.windows(2) {
            assert_eq!(pair[0].previous, Some(pair[1].rollout), "the history has no gap");
        }
    }
}
