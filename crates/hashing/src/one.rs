//! One stream after the other, through *ring*: for processors without a SHA unit that this crate knows.

use ring::digest::{Context, SHA256};

use crate::{BUFFER, Queue, Sha256, Stream};

pub(crate) fn digest_all<Q: Queue>(queue: &mut Q) {
    let mut buffer = vec![0; BUFFER];
    while let Some(mut stream) = queue.next() {
        let result = digest(&mut stream, &mut buffer);
        queue.done(stream, result);
    }
}

fn digest<S: Stream>(stream: &mut S, buffer: &mut [u8]) -> Result<Sha256, S::Error> {
    let mut context = Context::new(&SHA256);
    loop {
        let lent = stream.lend()?;
        if lent > 0 {
            context.update(stream.lent().get(..lent).unwrap_or_default());
            continue;
        }
        let count = stream.read(buffer)?.min(buffer.len());
        let piece = buffer.get(..count).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        context.update(piece);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}
