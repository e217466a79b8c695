use std::time::{Duration, Instant};
use reelshift_plan::*;
use reelshift_store::*;
use reelshift_store::ledger::*;
use reelshift_store::schema::StepGroup;
use reelshift_store_sqlite::*;
use uuid::Uuid;
fn cpu()->(f64,f64){let t=std::fs::read_to_string("/proc/self/stat").unwrap();let v:Vec<&str>=t.split(' ').collect();(v[13].parse::<f64>().unwrap()/100.,v[14].parse::<f64>().unwrap()/100.)}
#[tokio::test(flavor="multi_thread")]
async fn all() {
    let dir = tempfile::tempdir().unwrap();
    for bad in ["sqlite:/nope/x.db","sqlite::memory:","sqlite://","mysql://x","sqlite:/tmp","sqlite:/etc/passwd"] {
        println!("{bad}: {}", connect(bad, ConnectOptions{max_connections:2,create:false}).await.unwrap_err());
    }
    println!("{}", connect("sqlite:/nope/x.db", ConnectOptions{max_connections:2,create:true}).await.unwrap_err());
    let path = dir.path().join("x.db");
    let n = std::env::var("ROWS").unwrap_or("100000".into());
    let st = std::process::Command::new("sqlite3").arg(&path).arg(format!("CREATE TABLE videos (id VARCHAR(36) PRIMARY KEY, filename VARCHAR(255), file_path VARCHAR(500), file_size INTEGER, duration FLOAT, fps FLOAT, resolution VARCHAR(50), status VARCHAR(50) DEFAULT 'uploaded', processing_status VARCHAR(50) DEFAULT 'pending', ground_truth_generated BOOLEAN DEFAULT FALSE, project_id VARCHAR(36), created_at TIMESTAMP, updated_at TIMESTAMP);
    WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<{n}) INSERT INTO videos SELECT lower(hex(randomblob(4))||'-'||hex(randomblob(2))||'-'||hex(randomblob(2))||'-'||hex(randomblob(2))||'-'||hex(randomblob(6))), 'clip '||i||'.MP4', '/media/'||i||'.mp4', i*1000, 1.5, 25, 'x', 'uploaded', CASE i%4 WHEN 0 THEN 'pending' WHEN 1 THEN 'processing' WHEN 2 THEN 'completed' END, i%8=2, 'p', '2026-01-02 03:04:05', datetime('now', '-'||(i%100)||' days') FROM c;")).status().unwrap();
    assert!(st.success());
    let url = format!("sqlite://{}", path.display());
    let store = connect(&url, ConnectOptions{max_connections:4,create:false}).await.unwrap();
    println!("before: {}", store.snapshot(3).await.unwrap_err());
    let i = store.inspect().await.unwrap(); println!("{i:?}");
    let t = Instant::now();
    schema::apply(&store, &[StepGroup::Ledger, StepGroup::Expand], |s,o| println!("{} {o:?} {:?}", s.name, t.elapsed()), tokio::time::sleep).await.unwrap();
    let plan = RunPlan{filter:VideoFilter::default(),batch_rows:10000,batch_bytes:1<<40,batch_files:100,max_attempts:3};
    let CreatedRun::New(run) = store.create_run(&NewRun{id:Uuid::now_v7(),kind:JobKind::Backfill,plan,created_by:"x".into(),traceparent:None}).await.unwrap() else {panic!()};
    let lease = store.take_planning(run.id,"me",Duration::from_secs(5)).await.unwrap().unwrap();
    let mut after: Option<String> = None; let t=Instant::now();
    while let Some(w) = store.window(after.as_deref(), 10000, &Default::default()).await.unwrap() {
        store.add_batches(&lease, Some(&w.upto), &[NewBatch{id:Uuid::now_v7(),bounds:Bounds::Range{after:after.clone(),upto:w.upto.clone()},rows_total:w.needing,bytes_total:0,traceparent:None}]).await.unwrap();
        after=Some(w.upto);
    }
    println!("planned {:?}", t.elapsed());
    println!("{:?}", store.finish_planning(&lease).await.unwrap());
    let worker=Uuid::new_v4();
    store.register_worker(&NewWorker{id:worker,host:"h".into(),pid:1,version:"1".into()}).await.unwrap();
    let c0=cpu();let t=Instant::now(); let mut rows=0; let mut max=Duration::ZERO;
    loop {
        let c = store.claim(worker, JobKind::Backfill, 2).await.unwrap();
        if c.is_empty(){break}
        for c in c { let mut a=c.checkpoint.clone();
            loop { let t=Instant::now(); let ch=store.backfill_chunk(c.lease,&c.bounds,a.as_deref(),std::env::var("CHUNK").unwrap_or("500".into()).parse().unwrap(),&c.filter).await.unwrap(); max=max.max(t.elapsed()); rows+=ch.rows; if ch.next.is_none(){break} a=ch.next; }
            assert_eq!(store.finish(&[Finished{lease:c.lease,last_error_id:None}]).await.unwrap(),1); }
    }
    let c1=cpu(); println!("backfill user {} sys {}",c1.0-c0.0,c1.1-c0.1);
    println!("{rows} rows {:?} {} rows/s max {max:?}", t.elapsed(), rows as f64/t.elapsed().as_secs_f64());
    println!("{:?}", store.settle(run.id).await.unwrap());
    let t=Instant::now(); let mut a=None; while let Some(w)=store.window(a.as_deref(),10000,&Default::default()).await.unwrap(){assert_eq!(w.needing,0);a=Some(w.upto)} println!("sweep {:?}",t.elapsed());
    let t=Instant::now(); for c in store.validate().await.unwrap(){println!("{} {} {} {:?}",c.name,c.rows,c.differences,c.first)} println!("validate {:?}",t.elapsed()); if std::env::var("BRIEF").is_ok(){return}
    println!("{:?}", store.snapshot(3).await.unwrap());
    let t=Instant::now();
    for s in store.steps().iter().rev() { let st=std::process::Command::new("sqlite3").arg("-bail").arg(&path).arg(&s.down).status().unwrap(); assert!(st.success()); }
    println!("down {:?}",t.elapsed());
}
