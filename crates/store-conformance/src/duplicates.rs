//! Videos whose files have the same content.

use macro_rules_attribute::apply;
use reelshift_store::SharedStore;
use reelshift_store::duplicates::{Duplicate, FIRST_VIDEOS};

use crate::Fixture;
use crate::arrange::{expanded, insert, videos};

/// Videos 1 to `count`, changed by the statements `first`, then each with the hash that
/// `digit` gives its number: a hash goes when its file's path or size changes.
async fn hashed(
    db: &dyn Fixture,
    count: usize,
    first: &[&str],
    digit: impl Fn(usize) -> &'static str,
) -> SharedStore {
    insert(db, &videos(count)).await;
    for statement in first {
        db.execute(statement).await;
    }
    let store = expanded(db).await;
    for n in 1..=count {
        let hash = digit(n).repeat(64);
        db.execute(&format!("UPDATE videos SET file_hash = '{hash}' WHERE id = 'v{n:04}'")).await;
    }
    db.execute("UPDATE videos SET file_hash = NULL WHERE file_hash = ''").await;
    store
}

fn ids(duplicate: &Duplicate) -> Vec<&str> {
    duplicate.first.iter().map(|video| video.id.as_str()).collect()
}

#[apply(behaviour!)]
async fn equal_files_are_found_with_what_they_cost(db: &dyn Fixture) {
    let digits = ["b", "a", "b", "c", "b", "a", "", ""];
    // One file under two videos, and paths that differ in case only.
    let first = [
        "UPDATE videos SET file_path = '/media/B.mp4' WHERE id = 'v0001'",
        "UPDATE videos SET file_path = '/media/b.mp4' WHERE id IN ('v0003', 'v0005')",
        "UPDATE videos SET file_size = NULL WHERE id IN ('v0002', 'v0006')",
    ];
    let store = hashed(db, digits.len(), &first, |n| digits[n - 1]).await;
    let found = store.duplicates(None, 10).await.expect("duplicates");
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].sha256.as_str(), ids(&found[0])),
        (&*"a".repeat(64), vec!["v0002", "v0006"])
    );
    assert_eq!((found[0].videos, found[0].files, found[0].bytes_to_save), (2, 2, 0));
    assert!(found[0].at_least && !found[1].at_least, "the sizes of some are not known");
    assert_eq!(ids(&found[1]), ["v0001", "v0003", "v0005"]);
    assert_eq!(found[1].first[0].file_path.as_deref(), Some("/media/B.mp4"));
    assert_eq!((found[1].videos, found[1].files, found[1].bytes_to_save), (3, 2, 1_000));
}

#[apply(behaviour!)]
async fn one_file_is_one_however_its_path_is_written(db: &dyn Fixture) {
    let first = [
        "UPDATE videos SET file_path = 'x/a.mp4' WHERE id = 'v0001'",
        "UPDATE videos SET file_path = './x//a.mp4' WHERE id = 'v0002'",
        "UPDATE videos SET file_path = 'x/y/../a.mp4' WHERE id = 'v0003'",
        "UPDATE videos SET file_path = 'b.mp4' WHERE id = 'v0004'",
        "UPDATE videos SET file_size = 2147483647",
    ];
    let store = hashed(db, 4, &first, |_| "d").await;
    let found = store.duplicates(None, 10).await.expect("duplicates");
    assert_eq!((found.len(), found[0].videos, found[0].files), (1, 4, 2));
    assert_eq!((found[0].bytes_to_save, found[0].at_least), (2_147_483_647, true));
}

#[apply(behaviour!)]
async fn duplicates_come_in_pages(db: &dyn Fixture) {
    let digits = ["a", "b", "c", "d"];
    let store = hashed(db, 8, &[], |n| digits[n % 4]).await;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.duplicates(after.as_deref(), 3).await.expect("duplicates");
        let Some(last) = page.last() else { break };
        after = Some(last.sha256.clone());
        found.extend(page.into_iter().map(|duplicate| duplicate.sha256[..1].to_owned()));
    }
    assert_eq!(found, digits);
}

#[apply(behaviour!)]
async fn of_many_equal_files_the_first_are_named(db: &dyn Fixture) {
    let store = hashed(db, 25, &[], |_| "e").await;
    let found = store.duplicates(None, 10).await.expect("duplicates");
    assert_eq!((found.len(), found[0].videos, found[0].files), (1, 25, 25));
    assert_eq!(found[0].first.len(), FIRST_VIDEOS as usize);
    assert_eq!(ids(&found[0])[9], "v0010");
}
