//! One file a command. Each takes the context and its arguments, prints, and says how it
//! ended.

pub mod apply;
pub mod cancel;
pub mod completion;
pub mod demo;
pub mod doctor;
pub mod drain;
pub mod duplicates;
pub mod enqueue;
pub mod errors;
pub mod flags;
pub mod hash;
pub mod inspect;
pub mod list;
pub mod notify;
pub mod pause;
pub mod plan;
pub mod probe;
pub mod prune;
pub mod report;
pub mod rerun;
pub mod restore;
pub mod resume;
pub mod rollback;
pub mod serve;
pub mod settings;
pub mod status;
pub mod token;
pub mod top;
pub mod tune;
pub mod validate;
pub mod video;
pub mod wait;
pub mod work;
