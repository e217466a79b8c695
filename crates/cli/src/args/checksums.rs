//! The options that say whether checksums that an object store keeps are taken for hashes.

use clap::Args;
use clap::builder::FalseyValueParser;

#[derive(Debug, Args)]
pub struct ChecksumArgs {
    /// Take the SHA-256 that S3 keeps with a whole object for its hash, and do not read the
    /// object
    #[arg(long, env = "REELSHIFT_TRUST_STORED_CHECKSUMS", value_parser = FalseyValueParser::new())]
    pub trust_stored_checksums: bool,

    /// With --trust-stored-checksums, the part of these objects that is read nevertheless,
    /// always the same ones; one that differs is an error [default: 0]
    #[arg(long, env = "REELSHIFT_VERIFY_SAMPLE", value_name = "PERCENT")]
    pub verify_sample: Option<f64>,
}
