//! Wheels that tests build: stored members, a directory, an end record.

use taintline_environment::reference::WheelName;

/// An archive of these members.
pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    let small = |number: usize| u16::try_from(number).unwrap().to_le_bytes();
    let wide = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    for (name, content) in members {
        let at = bytes.len();
        let sum = formats::zip::sum_of(content).to_le_bytes();
        let sizes = [wide(content.len()), wide(content.len())].concat();
        let common = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..],
            &sum,
            &sizes,
            &small(name.len()),
            &[0, 0],
        ]
        .concat();
        bytes.extend([b"PK\x03\x04", common.as_slice(), name.as_bytes(), content].concat());
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(wide(at));
        directory.extend(name.as_bytes());
    }
    let (at, size) = (bytes.len(), directory.len());
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([small(members.len()), small(members.len())].concat());
    bytes.extend([wide(size), wide(at)].concat());
    bytes.extend([0, 0]);
    bytes
}

/// A wheel of a package: its files, and the papers that [`crate::site::Site::install`] writes for it.
pub(crate) fn wheel(name: &str, version: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let papers = format!("{}-{version}.dist-info", name.replace('-', "_"));
    let metadata =
        format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: not-this\n");
    let own = [
        (format!("{papers}/METADATA"), metadata),
        (format!("{papers}/RECORD"), "of the wheel".to_owned()),
    ];
    let all: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, text)| (*path, text.as_bytes()))
        .chain(
            own.iter()
                .map(|(path, text)| (path.as_str(), text.as_bytes())),
        )
        .collect();
    archive(&all)
}

/// The file name of a wheel for any Python.
pub(crate) fn file_name(name: &str, version: &str) -> String {
    let file = format!("{}-{version}-py3-none-any.whl", name.replace('-', "_"));
    assert!(WheelName::parse(&file).is_some());
    file
}
