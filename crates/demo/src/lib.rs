//! The platform of the demo, made up: its legacy tables, videos and files, the application that
//! works on them, the worker processes, and the faults that the demo's page offers. It speaks to
//! the database as the users of reelshift do, not through the store.

pub mod application;
pub mod faults;
pub mod files;
pub mod fleet;
pub mod platform;
