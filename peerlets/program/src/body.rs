//! Bodies of messages, read strictly: what a peerlet's schema does not name is not taken. Pure.

use dci_proto::message::Body;
use dci_proto::xml::Element;

/// The one element of a body, of a namespace, with no text beside it.
///
/// # Errors
/// What is wrong with the body.
pub fn only(body: &Body, namespace: &str) -> Result<Element, &'static str> {
    let mut elements = body.elements();
    let element = elements.pop().filter(|_| elements.is_empty() && body.text().trim().is_empty());
    let element = element.ok_or("it is not one element")?;
    if element.namespace == namespace { Ok(element) } else { Err("it is of another namespace") }
}

/// The values of attributes that must be there; others must not.
///
/// # Errors
/// What is wrong with the attributes.
pub fn attributes<const COUNT: usize>(
    element: &Element,
    names: [&str; COUNT],
) -> Result<[String; COUNT], &'static str> {
    if element.attributes.len() > COUNT {
        return Err("it has an attribute that is not known");
    }
    let mut values = [const { String::new() }; COUNT];
    for (value, wanted) in values.iter_mut().zip(names) {
        let found = element.attributes.iter().find(|(name, _)| name == wanted);
        found.ok_or("an attribute is missing")?.1.clone_into(value);
    }
    Ok(values)
}

/// Whether there is nothing in an element.
#[must_use]
pub fn is_empty(element: &Element) -> bool {
    element.children.is_empty() && element.text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Result<Element, &'static str> {
        only(&Body::of_xml(xml.into()).expect("a body"), "urn:x")
    }

    #[test]
    fn one_element_of_the_namespace_is_taken_and_nothing_beside_it() {
        assert_eq!(read(" <a xmlns='urn:x'>b</a>\n").map(|element| element.text), Ok("b".to_owned()));
        for bad in ["", "a", "<a xmlns='urn:x'/>b", "<a xmlns='urn:x'/><a xmlns='urn:x'/>"] {
            assert_eq!(read(bad), Err("it is not one element"), "{bad}");
        }
        assert_eq!(read("<a xmlns='urn:y'/>"), Err("it is of another namespace"));
    }

    #[test]
    fn attributes_are_those_that_are_named_in_any_order() {
        let element = read("<a xmlns='urn:x' two='2' one='1'/>").expect("an element");
        assert_eq!(attributes(&element, ["one", "two"]), Ok(["1".to_owned(), "2".to_owned()]));
        assert_eq!(attributes(&element, ["one"]), Err("it has an attribute that is not known"));
        assert_eq!(attributes(&element, ["one", "three"]), Err("an attribute is missing"));
        assert_eq!(attributes(&element, ["one", "two", "three"]), Err("an attribute is missing"));
        assert!(is_empty(&element) && !is_empty(&read("<a xmlns='urn:x'>b</a>").expect("an element")));
    }
}
