#![allow(clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::allow_attributes, clippy::disallowed_methods)]
use event_log::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
async fn run(log: Arc<dyn EventLog>, callers: usize, secs: u64, tag: &str) {
    let stop = Instant::now() + Duration::from_secs(secs);
    let mut set = tokio::task::JoinSet::new();
    for c in 0..callers {
        let log = log.clone();
        let name = LedgerName::new(&format!("{tag}-{c}")).unwrap();
        set.spawn(async move {
            let mut tip: Option<Tip> = None;
            let mut lat = Vec::new();
            let id = uuid::Uuid::new_v4();
            while Instant::now() < stop {
                let h = Header {
                    min_reader: 1,
                    ledger_id: id,
                    ledger: name.clone(),
                    revision: tip.map_or(Revision(1), |t| t.chain.revision.next()),
                    previous_hash: tip.map_or(RecordHash::NONE, |t| t.chain.hash),
                    recorded_at: jiff::Timestamp::now(),
                    fold_from: Revision(1),
                };
                let r = Record::seal(h, &[7; 1000]).unwrap();
                let s = Instant::now();
                let e = tip.map_or(Expectation::Empty, Expectation::Tip);
                match log.append(&r, &e, tokio::time::Instant::now() + Duration::from_secs(20)).await {
                    Ok(Outcome::Stored(a)) => tip = Some(a.tip),
                    o => panic!("{o:?}"),
                }
                lat.push(s.elapsed());
            }
            lat
        });
    }
    let s = Instant::now();
    let mut all = Vec::new();
    while let Some(l) = set.join_next().await {
        all.extend(l.unwrap());
    }
    all.sort();
    println!(
        "{tag}: {callers} callers {:.0}/s p50 {:?} p99 {:?}",
        all.len() as f64 / s.elapsed().as_secs_f64(),
        all[all.len() / 2],
        all[all.len() * 99 / 100]
    );
}
async fn replay(log: Arc<dyn EventLog>) {
    let s = Instant::now();
    let head = log.head(StreamIndex(0)).await.unwrap().position;
    let mut n = 0;
    let mut sub = log.subscribe(StreamIndex(0), None).await.unwrap();
    loop {
        let b = sub.next(5000, Duration::from_secs(5)).await.unwrap();
        n += b.len();
        if b.is_empty() || b.last().unwrap().position >= head {
            break;
        }
    }
    println!("replay {n} records {:.0}/s", n as f64 / s.elapsed().as_secs_f64());
}
#[tokio::main]
async fn main() {
    let d = tempfile::tempdir().unwrap();
    let log: Arc<dyn EventLog> = Arc::new(sqlite::SqliteLog::create(&d.path().join("l.db")).await.unwrap());
    run(log.clone(), 1, 4, "sqlite-1").await;
    run(log.clone(), 256, 4, "sqlite-256").await;
    replay(log).await;
    if let Some(url) = std::env::args().nth(1) {
        let log: Arc<dyn EventLog> = Arc::new(jetstream::JetStreamLog::init(&jetstream::JetStreamConfig::new(vec![url])).await.unwrap());
        run(log.clone(), 1, 4, "nats-1").await;
        run(log.clone(), 256, 4, "nats-256").await;
        replay(log.clone()).await;
        let n = LedgerName::new("nats-1-0").unwrap();
        let s = Instant::now();
        let mut k = 0;
        let mut after = None;
        loop {
            let p = log.read(&n, after.as_ref(), 5000).await.unwrap();
            if p.is_empty() {
                break;
            }
            k += p.len();
            after = p.last().map(ChainState::after);
        }
        println!("read one ledger {k} records {:.0}/s", k as f64 / s.elapsed().as_secs_f64());
    }
}
