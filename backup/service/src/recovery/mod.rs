//! Archives looked at and restored, from here or from peers; drills.
