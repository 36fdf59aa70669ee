//! On disk: the catalogue of an owner, and objects in the layout of restic.
