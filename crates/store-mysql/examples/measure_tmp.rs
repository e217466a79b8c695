use reelshift_plan::JobKind;
use reelshift_store::ledger::*;
use reelshift_store::schema::*;
use reelshift_store::*;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;
#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap();
    let store: SharedStore = Arc::new(
        reelshift_store_mysql::connect(
            &url,
            reelshift_store_mysql::ConnectOptions { max_connections: 4 },
        )
        .await
        .unwrap(),
    );
    let t = Instant::now();
    schema::apply(
        store.as_ref(),
        &[StepGroup::Ledger, StepGroup::Expand],
        |s, o| println!("{} {:?}", s.name, o),
        tokio::time::sleep,
    )
    .await
    .unwrap();
    println!("{} expand {:?}", store.server().await.unwrap(), t.elapsed());
    let filter = VideoFilter::default();
    let plan = RunPlan {
        filter: filter.clone(),
        batch_rows: 2000,
        batch_bytes: 1,
        batch_files: 1,
        max_attempts: 3,
    };
    let run = match store
        .create_run(&NewRun {
            id: Uuid::now_v7(),
            kind: JobKind::Backfill,
            plan,
            created_by: "x".into(),
            traceparent: None,
        })
        .await
        .unwrap()
    {
        CreatedRun::New(r) | CreatedRun::Existing(r) => r,
    };
    let lease = store
        .take_planning(run.id, "p", std::time::Duration::from_secs(60))
        .await
        .unwrap()
        .unwrap();
    let t = Instant::now();
    let mut after: Option<String> = None;
    let mut worst = 0.0f64;
    let mut n = 0;
    let mut batches = vec![];
    while let Some(w) = {
        let t = Instant::now();
        let w = store.window(after.as_deref(), 2000, &filter).await.unwrap();
        worst = worst.max(t.elapsed().as_secs_f64());
        w
    } {
        batches.push(NewBatch {
            id: Uuid::now_v7(),
            bounds: Bounds::Range { after: after.clone(), upto: w.upto.clone() },
            rows_total: w.needing,
            bytes_total: 0,
            traceparent: None,
        });
        after = Some(w.upto);
        n += 1;
    }
    println!(
        "{n} windows in {:?}, mean {:.1} ms worst {:.1} ms",
        t.elapsed(),
        t.elapsed().as_secs_f64() * 1e3 / n as f64,
        worst * 1e3
    );
    store.add_batches(&lease, after.as_deref(), &batches).await.unwrap();
    store.finish_planning(&lease).await.unwrap();
    let worker = Uuid::now_v7();
    store
        .register_worker(&NewWorker { id: worker, host: "h".into(), pid: 1, version: "1".into() })
        .await
        .unwrap();
    let t = Instant::now();
    let mut rows = 0u64;
    let mut times = vec![];
    let mut claims = vec![];
    loop {
        let c = Instant::now();
        let claimed = store.claim(worker, JobKind::Backfill, 4).await.unwrap();
        claims.push(c.elapsed().as_secs_f64() * 1e3);
        if claimed.is_empty() {
            break;
        }
        for b in claimed {
            let mut after = b.checkpoint.clone();
            loop {
                let c = Instant::now();
                let chunk = store
                    .backfill_chunk(b.lease, &b.bounds, after.as_deref(), 500, &b.filter)
                    .await
                    .unwrap();
                times.push(c.elapsed().as_secs_f64() * 1e3);
                rows += u64::from(chunk.rows);
                match chunk.next {
                    Some(n) => after = Some(n),
                    None => break,
                }
            }
            store.finish(&[Finished { lease: b.lease, last_error_id: None }]).await.unwrap();
        }
    }
    let e = t.elapsed();
    times.sort_by(f64::total_cmp);
    claims.sort_by(f64::total_cmp);
    println!(
        "backfill {rows} rows in {e:?}: {:.0}/s; chunk p50 {:.1} p99 {:.1} max {:.1} ms; claim p50 {:.2} max {:.2}",
        rows as f64 / e.as_secs_f64(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1],
        claims[claims.len() / 2],
        claims[claims.len() - 1]
    );
    println!("settle {:?}", store.settle(run.id).await.unwrap());
    let t = Instant::now();
    let mut after = None;
    let mut needing = 0;
    let mut n = 0;
    while let Some(w) = store.window(after.as_deref(), 2000, &filter).await.unwrap() {
        needing += w.needing;
        after = Some(w.upto);
        n += 1;
    }
    println!("sweep: {needing} needing, {n} windows, {:?}", t.elapsed());
    let t = Instant::now();
    for c in store.validate().await.unwrap() {
        println!("{} {} {} {:?}", c.name, c.rows, c.differences, c.first.first());
    }
    println!("validate {:?}", t.elapsed());
    let t = Instant::now();
    let i = store.inspect().await.unwrap();
    println!("inspect {} {:?}", i.total_videos, t.elapsed());
    let t = Instant::now();
    store.snapshot(10).await.unwrap();
    println!("snapshot {:?}", t.elapsed());
    let t = Instant::now();
    let u = store.unhashed(None, 1000, &filter).await.unwrap();
    println!("unhashed {} {:?}", u.len(), t.elapsed());
    // enqueue and claim rate
    let plan = RunPlan {
        filter: VideoFilter { project: Some("none".into()), ..filter.clone() },
        batch_rows: 2000,
        batch_bytes: 1,
        batch_files: 1,
        max_attempts: 3,
    };
    let run = match store
        .create_run(&NewRun {
            id: Uuid::now_v7(),
            kind: JobKind::Hash,
            plan,
            created_by: "x".into(),
            traceparent: None,
        })
        .await
        .unwrap()
    {
        CreatedRun::New(r) | CreatedRun::Existing(r) => r,
    };
    let lease = store
        .take_planning(run.id, "p", std::time::Duration::from_secs(60))
        .await
        .unwrap()
        .unwrap();
    let t = Instant::now();
    for _ in 0..20 {
        let b: Vec<_> = (0..1000)
            .map(|_| NewBatch {
                id: Uuid::now_v7(),
                bounds: Bounds::Items(vec!["a".into()]),
                rows_total: 1,
                bytes_total: 1,
                traceparent: None,
            })
            .collect();
        store.add_batches(&lease, None, &b).await.unwrap();
    }
    println!("enqueue {:.0}/s", 20000.0 / t.elapsed().as_secs_f64());
    let t = Instant::now();
    let mut n = 0;
    loop {
        let c = store.claim(worker, JobKind::Hash, 50).await.unwrap();
        if c.is_empty() {
            break;
        }
        n += c.len();
        let f: Vec<_> =
            c.iter().map(|c| Finished { lease: c.lease, last_error_id: None }).collect();
        assert_eq!(store.finish(&f).await.unwrap(), f.len() as u64);
    }
    println!("claim+finish {n} by 50: {:.0}/s", n as f64 / t.elapsed().as_secs_f64());
}
