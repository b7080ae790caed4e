//! Where a path that stands in a file leads: into its own folder, or out of it.
//!
//! Formats name other files, and a loader opens them with the rights of whoever loads. The text alone is judged, for all
//! systems at once, because nobody knows where the file will be loaded. What lies behind the path is never asked.

/// Why `path` leaves the folder of the file that names it; `None` if it stays.
pub(crate) fn leaves(path: &str) -> Option<&'static str> {
    let path = path.trim();
    let mut head = path.chars();
    let (first, second) = (head.next(), head.next());
    if scheme(path) {
        return Some("it is an address, not a file beside it");
    }
    if matches!(first, Some('/' | '\\')) {
        return Some("it is an absolute path");
    }
    if first == Some('~') {
        return Some("it starts in a home folder");
    }
    if first.is_some_and(|letter| letter.is_ascii_alphabetic()) && second == Some(':') {
        return Some("it names a drive");
    }
    if path.split(['/', '\\']).any(|part| part.trim() == "..") {
        return Some("it climbs out of its folder");
    }
    path.contains('\0').then_some("it holds a zero byte")
}

/// Whether `text` starts like an address: letters, a colon, two slashes.
pub(crate) fn scheme(text: &str) -> bool {
    let Some((name, _)) = text.split_once("://") else {
        return text
            .get(..5)
            .is_some_and(|head| head.eq_ignore_ascii_case("file:"));
    };
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "+-._".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_beside_the_file_is_let_be() {
        for path in [
            "weights.bin",
            "sub/weights.bin",
            "./model.onnx_data",
            "a..b",
            "v1.0:2",
            "",
        ] {
            assert_eq!(leaves(path), None, "{path}");
        }
    }

    #[test]
    fn every_way_out_is_seen() {
        let ways = [
            "/etc/passwd",
            "..",
            "a/../../b",
            "..\\b",
            "C:\\x",
            "c:x",
            "~/x",
            "\\\\host\\share",
            "https://host/x",
            "s3://bucket/x",
            "file:/etc/passwd",
            " /etc/passwd",
            "a\0b",
        ];
        for path in ways {
            assert!(leaves(path).is_some(), "{path}");
        }
    }
}
