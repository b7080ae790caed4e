//! PEM (RFC 7468): labelled base64 in a text, several in a row, with whatever stands between them.
//!
//! `openssl ecparam -genkey` writes the curve before the key, a chain is many certificates in one file, and mail and wikis
//! put words around them. So all blocks are listed and the caller picks by label. It knows nothing of what is inside.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The most bytes that a PEM file may have.
pub const MAX_PEM_BYTES: u64 = 1 << 20;

/// The most blocks that are read of one file.
const MAX_BLOCKS: usize = 1000;

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands behind `BEGIN`, such as `EC PRIVATE KEY`.
    pub label: String,
    /// The bytes.
    pub der: Vec<u8>,
}

/// A text that is not PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Not text.
    #[error("it is not a text; a PEM file is expected (`-----BEGIN …`)")]
    NotText,
    /// A block that does not end, or whose inside is no base64.
    #[error("block {number} of this PEM file is damaged")]
    Block {
        /// Which, from 1.
        number: usize,
    },
    /// Too many blocks or bytes.
    #[error("it is larger than any PEM file that is read here")]
    TooLarge,
}

/// All blocks in order. Pure and total.
pub fn parse(bytes: &[u8]) -> Result<Vec<Block>, PemError> {
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(PemError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| PemError::NotText)?;
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = between(line, "-----BEGIN ") else {
            continue;
        };
        let number = blocks.len() + 1;
        if number > MAX_BLOCKS {
            return Err(PemError::TooLarge);
        }
        let mut encoded = String::new();
        loop {
            let line = lines.next().ok_or(PemError::Block { number })?;
            if between(line, "-----END ") == Some(label) {
                break;
            }
            // Headers such as `Proc-Type: 4,ENCRYPTED` of old encrypted keys.
            if line.contains(':') {
                return Err(PemError::Block { number });
            }
            encoded.push_str(line);
        }
        let der = STANDARD
            .decode(&encoded)
            .map_err(|_| PemError::Block { number })?;
        blocks.push(Block {
            label: label.to_owned(),
            der,
        });
    }
    Ok(blocks)
}

fn between<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.strip_prefix(mark)?.strip_suffix("-----")
}

/// The one text of a block: lines of 64, a line break behind each.
pub fn encode(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_among_other_text() {
        let (one, two) = (vec![7; 100], vec![1, 2, 3]);
        let text = format!(
            "subject=someone\r\n{}\nwords\n{}",
            encode("A", &one).replace('\n', "\r\n"),
            encode("B C", &two)
        );
        let blocks = parse(text.as_bytes()).unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!((blocks[0].label.as_str(), &blocks[0].der), ("A", &one));
        assert_eq!((blocks[1].label.as_str(), &blocks[1].der), ("B C", &two));
    }

    #[test]
    fn a_block_that_is_cut_or_damaged_is_an_error() {
        let whole = encode("KEY", &[5; 90]);
        for cut in 20..whole.len() - 2 {
            assert!(parse(&whole.as_bytes()[..cut]).is_err(), "{cut}");
        }
        assert!(parse(whole.replace("BQU", "B!U").as_bytes()).is_err());
        assert!(parse(b"\xff").is_err());
    }
}
