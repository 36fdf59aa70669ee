//! Dead properties.

use std::collections::BTreeSet;

use super::namespace::Place;
use super::state::State;
use super::{Step, locks};
use crate::tables;
use crate::{Guard, NodePath, Outcome, Property, PropertyName, PropertyPatch, Rejection, query};

/// Dead properties of one file or folder, at most.
pub const PROPERTIES_PER_NODE_LIMIT: usize = 1_000;
/// Bytes of one dead property, name and element each, at most.
pub const PROPERTY_LIMIT_BYTES: usize = 64 * 1024;

/// Steps of one change, at most.
const PATCHES_LIMIT: usize = 4 * PROPERTIES_PER_NODE_LIMIT;

pub(super) fn patch(state: &mut State, path: &NodePath, guard: &Guard, patches: &[PropertyPatch]) -> Step<Outcome> {
    let (key, mut node) = Place::existing(state, path, guard)?;
    locks::check_node(state, path, guard)?;
    let before = query::properties(&*state.kv, node.inode)?;
    let left = check(before.iter().map(|property| &property.name).collect(), patches)?;
    for patch in patches {
        match patch {
            PropertyPatch::Set(name, xml) => {
                let property = Property { name: name.clone(), xml: xml.clone() };
                let key = tables::property_key(node.inode, &name.namespace, &name.name);
                state.put(tables::PROPERTIES, &key, &property)?;
            }
            PropertyPatch::Remove(name) => {
                state.delete(&tables::property_key(node.inode, &name.namespace, &name.name))?;
            }
        }
    }
    if node.has_properties != (left > 0) {
        node.has_properties = left > 0;
        state.put(tables::NODES, &key, &node)?;
    }
    Ok(Outcome::Done)
}

/// How many properties there are once all steps are done, if they may be.
fn check<'a>(mut names: BTreeSet<&'a PropertyName>, patches: &'a [PropertyPatch]) -> Step<usize> {
    if patches.len() > PATCHES_LIMIT {
        return Err(Rejection::TooMany("changes of properties at once".to_owned()).into());
    }
    for patch in patches {
        match patch {
            PropertyPatch::Set(name, xml) => {
                if name.namespace.len() + name.name.len() > PROPERTY_LIMIT_BYTES || xml.len() > PROPERTY_LIMIT_BYTES {
                    let reason = format!("a property has more than {PROPERTY_LIMIT_BYTES} bytes");
                    return Err(Rejection::Invalid(reason).into());
                }
                names.insert(name);
            }
            PropertyPatch::Remove(name) => {
                names.remove(name);
            }
        }
    }
    if names.len() > PROPERTIES_PER_NODE_LIMIT {
        return Err(Rejection::TooMany("properties of one file or folder".to_owned()).into());
    }
    Ok(names.len())
}
