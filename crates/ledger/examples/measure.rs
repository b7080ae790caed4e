//! What appending, storing and auditing cost on this disk: `cargo run --release --example measure -p taintline-ledger`.

use std::time::Instant;

use taintline_ledger::{Store, audit};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::Builder::new()
        .prefix("measure")
        .tempdir_in("target")?;
    let store = Store::open_or_create(&folder.path().join("store"))?;
    let writer = store.writer("measure@here", &folder.path().join("keys"))?;
    let entry = |index: u32| format!("{index:0>300}").into_bytes();
    for (size, rounds) in [(1_u32, 200_u32), (16, 100), (256, 50), (4_096, 10)] {
        let batch: Vec<_> = (0..size).map(entry).collect();
        let mut took = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            writer.append(&batch)?;
            took.push(start.elapsed());
        }
        took.sort();
        let total: f64 = took.iter().map(std::time::Duration::as_secs_f64).sum();
        let rate = f64::from(size * rounds) / total;
        let (Some(median), Some(slowest)) = (took.get(took.len() / 2), took.last()) else {
            continue;
        };
        println!(
            "append {size:>5} a batch: median {median:.2?}, slowest {slowest:.2?}, {rate:.0} entries/s"
        );
    }
    let start = Instant::now();
    writer.check()?;
    println!("check {:.2?}", start.elapsed());
    for count in [1, 8, 299, 300, 301, 1000] {
        let blobs: Vec<Vec<u8>> = (0..count)
            .map(|index| format!("{count} {index} ").repeat(500).into_bytes())
            .collect();
        let start = Instant::now();
        store.put_blobs(&blobs)?;
        println!("put {count} new blobs {:.2?}", start.elapsed());
        let start = Instant::now();
        store.put_blobs(&blobs)?;
        println!("put {count} known blobs {:.2?}", start.elapsed());
    }
    let start = Instant::now();
    let report = audit(&store, &|_| Vec::new());
    println!(
        "audit {} entries, {} bytes: {:.2?}, {} problems",
        report.entries,
        report.bytes,
        start.elapsed(),
        report.problems.len()
    );
    Ok(())
}
