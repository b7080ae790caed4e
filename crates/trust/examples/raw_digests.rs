//! The limit that sealing is measured against: SHA-256 and BLAKE3 of every file below a folder, each byte read once, and
//! nothing else. `raw_digests THREADS FOLDER` prints how many bytes it read; `bench/seal.py` times it.
//!
//! The digests are made as fast as is known here. Many files: each thread digests as many at a time as its processor has
//! lanes for, and no more than its share. Fewer files than threads: one thread makes SHA-256, which cannot be divided, and
//! the others read and make the BLAKE3 tree of the same buffers. No name is resolved with care, no file is looked at twice,
//! nothing is kept.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hashing::{Engine, Queue, ResultOf, Stream};
use taintline_trust::chunks::{BLOCK, TreeBuilder, block_value};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let threads: usize = words.next().ok_or("THREADS FOLDER")?.parse()?;
    let mut files = Vec::new();
    list(
        Path::new(&words.next().ok_or("THREADS FOLDER")?),
        &mut files,
    )?;
    let mut total = 0;
    if files.len() < threads {
        for path in &files {
            total += one_file(path, threads - 1)?;
        }
    } else {
        total = many_files(files, threads);
    }
    println!("{total}");
    Ok(())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
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

/// Files that threads take from one pile.
struct Pile<'a> {
    files: &'a Mutex<Vec<PathBuf>>,
    total: u64,
    /// Files that this thread has open, and may have.
    open: usize,
    share: usize,
}

/// A file that is read, its BLAKE3 made on the way.
struct Reading {
    file: File,
    blake3: blake3::Hasher,
    bytes: u64,
}

impl Stream for Reading {
    type Error = io::Error;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.blake3.update(buffer.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        Ok(count)
    }
}

impl Queue for Pile<'_> {
    type Stream = Reading;

    fn next(&mut self) -> Option<Reading> {
        if self.open == self.share {
            return None;
        }
        let path = self.files.lock().ok()?.pop()?;
        self.open += 1;
        Some(Reading {
            file: File::open(path).ok()?,
            blake3: blake3::Hasher::new(),
            bytes: 0,
        })
    }

    fn done(&mut self, stream: Reading, result: ResultOf<Reading>) {
        self.open -= 1;
        if let Ok(digest) = result {
            std::hint::black_box((digest, stream.blake3.finalize()));
            self.total += stream.bytes;
        }
    }
}

fn many_files(files: Vec<PathBuf>, threads: usize) -> u64 {
    let share = files.len().div_ceil(threads);
    let files = Mutex::new(files);
    let work = || {
        let mut pile = Pile {
            files: &files,
            total: 0,
            open: 0,
            share,
        };
        Engine::best().digest_all(&mut pile);
        pile.total
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().filter_map(|one| one.join().ok()).sum()
    })
}

/// Blocks that a helper is ahead, at most.
const AHEAD: usize = 32;

fn one_file(path: &Path, helpers: usize) -> io::Result<u64> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let builder = Mutex::new(TreeBuilder::new(size));
    let mut sha256 = ring::digest::Context::new(&ring::digest::SHA256);
    std::thread::scope(|scope| {
        let mut blocks = Vec::new();
        for first in 0..helpers {
            let (give, take) = sync_channel(AHEAD);
            let (give_back, spare) = sync_channel(AHEAD + 2);
            blocks.push((take, give_back));
            let (file, builder) = (&file, &builder);
            scope.spawn(move || help(file, (first, helpers), builder, &give, &spare));
        }
        // Block by block, from one helper after the other, until one has no more.
        for (take, give_back) in blocks.iter().cycle() {
            let Ok(bytes) = take.recv() else { break };
            sha256.update(&bytes);
            let _ = give_back.try_send(bytes); // a spare that finds no room is freed
        }
    });
    let tree = builder.into_inner().map(TreeBuilder::finish);
    std::hint::black_box((tree.is_ok(), sha256.finish()));
    Ok(size)
}

/// Reads every `step`th block from the `first` on, makes its value, and gives its bytes on.
fn help(
    file: &File,
    (first, step): (usize, usize),
    builder: &Mutex<TreeBuilder>,
    give: &SyncSender<Vec<u8>>,
    spare: &Receiver<Vec<u8>>,
) {
    for number in (first as u64..).step_by(step) {
        let mut bytes = spare.try_recv().unwrap_or_default();
        bytes.resize(usize::try_from(BLOCK).unwrap_or(usize::MAX), 0);
        let Ok(count) = read_block(file, number * BLOCK, &mut bytes) else {
            return;
        };
        bytes.truncate(count);
        if bytes.is_empty() {
            return;
        }
        let value = block_value(number * BLOCK, &bytes);
        if let Ok(mut builder) = builder.lock() {
            builder.block(number, value);
        }
        if give.send(bytes).is_err() {
            return;
        }
    }
}

fn read_block(file: &File, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some(rest) = bytes.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + count as u64)? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}
