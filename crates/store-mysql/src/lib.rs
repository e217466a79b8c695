//! The mysql adapter.
