//! One file a command. Each takes the context and its arguments, prints, and says how it
//! ended.

pub mod apply;
pub mod demo;
pub mod duplicates;
pub mod enqueue;
pub mod errors;
pub mod flags;
pub mod hash;
pub mod inspect;
pub mod plan;
pub mod rerun;
pub mod restore;
pub mod rollback;
pub mod status;
pub mod validate;
pub mod video;
pub mod work;
