//! The namespace: a forest with one root a volume, what its volumes count, what belongs to its nodes.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::{InodeId, VolumeId};

use super::{Check, Validator, ensure};
use crate::tables;
use crate::{Node, NodeContent, NodeKind, Property, VolumeRecord, query};

/// Every node, roots included, and the folder it is in (its own inode for a root).
pub(super) struct Nodes {
    pub(super) all: BTreeMap<InodeId, Node>,
    parents: BTreeMap<InodeId, InodeId>,
}

impl Validator<'_> {
    pub(super) fn nodes(&self) -> Check<Nodes> {
        let mut nodes = Nodes { all: BTreeMap::new(), parents: BTreeMap::new() };
        let mut add = |parent: InodeId, node: Node| {
            let (inode, name) = (node.inode, node.name.clone());
            nodes.parents.insert(inode, parent);
            let twice = nodes.all.insert(inode, node).is_some();
            ensure(!twice, || format!("inode {inode} is there twice, once as {name:?}"))
        };
        for (_, root) in self.rows::<Node>(tables::ROOTS)? {
            ensure(root.kind == NodeKind::Folder, || format!("root {} is no folder", root.inode))?;
            add(root.inode, root)?;
        }
        for (key, node) in self.rows::<Node>(tables::NODES)? {
            let (parent, name) = key.split_first_chunk().unwrap_or((&[0; 8], &[]));
            let normal = tables::normalized(&node.name);
            ensure(normal.as_bytes() == name, || format!("{:?} is not under its normalised name", node.name))?;
            check_node(&node)?;
            add(InodeId(u64::from_be_bytes(*parent)), node)?;
        }
        nodes.check_reachable()?;
        Ok(nodes)
    }

    pub(super) fn volumes(&self, nodes: &Nodes) -> Check {
        let volumes = query::volumes(self.kv)?;
        let mut names = BTreeMap::new();
        for (name, id) in self.rows::<VolumeId>(tables::VOLUME_NAMES)? {
            names.insert(id, name);
        }
        let roots = self.count(tables::ROOTS)?;
        let counts = (volumes.len(), names.len(), roots);
        ensure(names.len() == volumes.len() && roots == volumes.len() as u64, || {
            format!("volumes, their names and roots differ in number: {counts:?}")
        })?;
        for volume in &volumes {
            let key = tables::volume_name_key(&volume.name);
            let listed = names.get(&volume.id).map(Vec::as_slice);
            ensure(listed == key.get(1..), || format!("volume {} is not found by its name", volume.name))?;
            nodes.check_counters(volume)?;
        }
        Ok(())
    }

    pub(super) fn properties(&self, nodes: &Nodes) -> Check {
        let mut having = BTreeSet::new();
        for (key, property) in self.rows::<Property>(tables::PROPERTIES)? {
            let (inode, _) = key.split_first_chunk().unwrap_or((&[0; 8], &[]));
            let inode = InodeId(u64::from_be_bytes(*inode));
            let expected = tables::property_key(inode, &property.name.namespace, &property.name.name);
            ensure(expected.get(1..) == Some(key.as_slice()), || format!("a property of {inode} is misplaced"))?;
            having.insert(inode);
        }
        let saying = nodes.all.values().filter(|node| node.has_properties).map(|node| node.inode).collect();
        ensure(having == saying, || format!("nodes {having:?} have properties, {saying:?} say so"))
    }
}

fn check_node(node: &Node) -> Check {
    let fits = match (node.kind, &node.content) {
        (NodeKind::Folder, None) => node.size_bytes == 0,
        (NodeKind::File, Some(NodeContent::Inline(bytes))) => node.size_bytes == bytes.len() as u64,
        (NodeKind::File, Some(NodeContent::Chunks(_))) => true,
        _ => false,
    };
    ensure(fits, || format!("{:?} has the wrong content for what it is", node.name))
}

impl Nodes {
    fn check_reachable(&self) -> Check {
        for (inode, parent) in &self.parents {
            let (mut at, mut above) = (*inode, *parent);
            let mut steps = 0;
            while at != above {
                let folder = self.all.get(&above).is_some_and(|node| node.kind == NodeKind::Folder);
                ensure(folder, || format!("inode {at} lies in {above}, which is no folder"))?;
                steps += 1;
                ensure(steps <= self.all.len(), || format!("inode {inode} lies in itself"))?;
                at = above;
                above = self.parents.get(&above).copied().unwrap_or(above);
            }
        }
        Ok(())
    }

    fn root_of(&self, inode: InodeId) -> InodeId {
        let mut at = inode;
        while let Some(parent) = self.parents.get(&at).filter(|parent| **parent != at) {
            at = *parent;
        }
        at
    }

    fn check_counters(&self, volume: &VolumeRecord) -> Check {
        let is_root = self.parents.get(&volume.root) == Some(&volume.root);
        ensure(is_root, || format!("the root of volume {} is not there", volume.name))?;
        let files = self.all.values().filter(|node| node.kind == NodeKind::File);
        let files: Vec<&Node> = files.filter(|node| self.root_of(node.inode) == volume.root).collect();
        let counted = (files.len() as u64, files.iter().map(|node| node.size_bytes).sum());
        ensure(counted == (volume.files, volume.bytes), || {
            let (name, claimed) = (&volume.name, (volume.files, volume.bytes));
            format!("volume {name} claims (files, bytes) {claimed:?} and has {counted:?}")
        })
    }
}
