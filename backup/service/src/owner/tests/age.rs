//! Archives go, space comes back, what stays restores.

use shoal_backup::aging::Ages;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_no_kept_archive_needs_goes_everywhere_and_what_stays_restores() {
    let mut pool = Pool::new(2);
    pool.write("large", &noise(1, 2 << 20));
    let mut plan = pool.plan();
    plan.ages = Ages { keep_last: 1, keep_daily: 0, keep_weekly: 0, keep_monthly: 0, max_age_days: None };
    let kit = pool.owner().init(plan).await.unwrap();
    let before = pool.back_up().await;
    assert!(before.repository_bytes > 2 << 20);
    fs::remove_file(pool.home().join("large")).unwrap();
    pool.write("second", &noise(2, 1_000));
    pool.owner().ask_run(Mode::Snapshot).unwrap();
    let status = pool
        .until("space", |status| {
            status.archives == 1
                && status.repository_bytes < 1 << 20
                && status.newest.as_ref().is_some_and(|newest| newest.number.unwrap().0 == 2 && newest.copies == 2)
                && status.unsent_bytes == 0
        })
        .await;
    assert_eq!(status.lost_here, 0);
    assert_eq!(pool.restored(&pool.folder().join("repo"), kit.passphrase.as_str()), pool.files());
    for number in [2, 3] {
        let repository = pool.holder(number).repository(agent(1)).unwrap();
        assert_eq!(pool.restored(&repository, kit.passphrase.as_str()), pool.files());
        let copies = pool.holder(number).status().copies;
        assert!(copies.iter().any(|copy| copy.trash_objects > 0), "{copies:?}");
    }
    // It is the same after a restart.
    pool.restart().await;
    let again = pool.until("copies", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    assert_eq!((again.archives, again.objects, again.lost_here), (1, status.objects, 0));
}
