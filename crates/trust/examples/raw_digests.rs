//! The limit that sealing is measured against: SHA-256 and BLAKE3 of every file below a folder, each byte read once, and
//! nothing else. `raw_digests THREADS FOLDER` prints how many bytes it read; `bench/seal.py` times it.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let threads: usize = words.next().ok_or("THREADS FOLDER")?.parse()?;
    let mut files = Vec::new();
    list(
        Path::new(&words.next().ok_or("THREADS FOLDER")?),
        &mut files,
    )?;
    let files = Mutex::new(files);
    let total: u64 = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&files))).collect();
        all.into_iter().filter_map(|one| one.join().ok()).sum()
    });
    println!("{total}");
    Ok(())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn work(files: &Mutex<Vec<PathBuf>>) -> u64 {
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    while let Some(path) = files.lock().ok().and_then(|mut files| files.pop()) {
        total += digest(&path, &mut buffer).unwrap_or(0);
    }
    total
}

fn digest(path: &Path, buffer: &mut [u8]) -> std::io::Result<u64> {
    let mut file = File::open(path)?;
    let mut sha256 = ring::digest::Context::new(&ring::digest::SHA256);
    let mut blake3 = blake3::Hasher::new();
    let mut total = 0;
    loop {
        let count = file.read(buffer)?;
        let piece = buffer.get(..count).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        sha256.update(piece);
        blake3.update(piece);
        total += count as u64;
    }
    std::hint::black_box((sha256.finish(), blake3.finalize()));
    Ok(total)
}
