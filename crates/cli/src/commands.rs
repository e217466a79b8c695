//! One file a command. Each takes the context and its arguments, prints, and says how it
//! ended.

pub mod apply;
pub mod demo;
pub mod enqueue;
pub mod errors;
pub mod inspect;
pub mod rerun;
pub mod status;
pub mod validate;
pub mod work;
