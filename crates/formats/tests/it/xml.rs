//! XML with its entities.

use proptest::prelude::*;
use taintline_formats::xml::{self, Document, Element};

fn read(text: &str) -> (Document, Vec<Element>) {
    let mut elements = Vec::new();
    let document = xml::read(text, &mut |element| elements.push(element.clone()));
    (document, elements)
}

#[test]
fn elements_and_attributes_are_told() {
    let (document, elements) =
        read("<?xml version='1.0'?><net name='x'><a:layer type=\"Relu\" version='opset1'/></net>");
    assert_eq!(document.root.as_deref(), Some("net"));
    assert_eq!((elements.len(), elements[1].get("type")), (2, Some("Relu")));
    assert_eq!((document.fault, document.expanded), (None, 0));
}

#[test]
fn entities_that_grow_or_lie_outside_are_told_and_not_followed() {
    let mut text = "<!DOCTYPE x [<!ENTITY a0 \"lollollollol\">".to_owned();
    for n in 1..30 {
        let used = format!("&a{};", n - 1).repeat(10);
        text.push_str(&format!("<!ENTITY a{n} \"{used}\">"));
    }
    text.push_str("]><x>&a29;</x>");
    assert!(read(&text).0.expanded > 1 << 60);
    let (document, _) = read(
        "<!DOCTYPE x SYSTEM 'http://e.invalid/x.dtd' [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><x/>",
    );
    assert_eq!(
        document.external,
        ["http://e.invalid/x.dtd", "file:///etc/passwd"]
    );
}

#[test]
fn what_is_no_xml_says_where() {
    assert!(read("<a><b attr='").0.fault.is_some());
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "[<>!\\[\\]ab&;%\"'=/? ENTITYDOCP-]{0,200}") {
        read(&text);
        read(&format!("<!DOCTYPE a [{text}"));
    }
}
