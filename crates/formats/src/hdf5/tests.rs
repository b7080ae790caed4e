//! What the reader of HDF5 promises, on a file of the old form and one of the new; `tests/samples/make.py` made them.

use super::*;

const OLD: &[u8] = include_bytes!("../../tests/samples/old.h5");
const DENSE: &[u8] = include_bytes!("../../tests/samples/dense.h5");

fn text<'a>(bytes: &'a [u8], file: &File, name: &str) -> &'a str {
    let attribute = file
        .attributes
        .iter()
        .find(|found| found.name == name)
        .unwrap();
    let span = attribute.text.unwrap();
    let range = usize::try_from(span.start).unwrap()..usize::try_from(span.end).unwrap();
    std::str::from_utf8(&bytes[range]).unwrap()
}

#[test]
fn the_old_form_is_followed_to_every_name_that_leads_out() {
    let file = read(&OLD).unwrap();
    assert_eq!(file.unread, []);
    let mut links: Vec<_> = file
        .links
        .iter()
        .map(|link| (&*link.path, link.file.as_deref(), &*link.target))
        .collect();
    links.sort_unstable();
    assert_eq!(
        links,
        [
            ("/weights/again", None, "/weights/kernel"),
            ("/weights/elsewhere", Some("../other.h5"), "/x"),
        ]
    );
    assert_eq!(file.datasets.len(), 1);
    assert_eq!(file.datasets[0].files, ["part.bin"]);
    assert_eq!(file.raw_bytes, 6 * 4 + 4 * 4);
    assert!(text(OLD, &file, "model_config").starts_with("{\"class_name\": \"Sequential\""));
    assert_eq!(text(OLD, &file, "keras_version"), "3.0");
}

#[test]
fn members_in_fractal_heaps_are_all_seen_behind_a_user_block() {
    let file = read(&DENSE).unwrap();
    assert_eq!((file.user_block, &file.unread[..]), (512, &[][..]));
    let soft = file.links.iter().filter(|link| link.file.is_none());
    assert_eq!(soft.count(), 40);
    let out = file.links.iter().find(|link| link.file.is_some()).unwrap();
    assert_eq!(
        (out.file.as_deref(), &*out.target),
        (Some("https://host/x.h5"), "/y")
    );
    assert_eq!(file.attributes.len(), 13);
    assert_eq!(
        text(DENSE, &file, "model_config"),
        "{\"class_name\": \"Gate\", \"config\": {}}"
    );
}

#[test]
fn what_is_cut_off_is_told() {
    for size in [2000, 4000, 6000] {
        let file = read(&&OLD[..size]).unwrap();
        assert!(!file.unread.is_empty(), "{size}");
    }
    assert!(read(&b"\x89HDF\r\n\x1a\n".as_slice()).is_err());
}
