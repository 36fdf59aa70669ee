//! Cluster harness, simulated network and disks, checkers.
