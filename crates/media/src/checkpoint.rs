//! How far the hashing of a file has come, to go on from after a crash.

use crate::sha256::State;

/// What tells two contents of a name apart without reading them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileVersion {
    /// In bytes.
    pub size: u64,
    /// The modification time in nanoseconds, or the object's `ETag`.
    pub mark: String,
}

/// The state of SHA-256 after the first `offset` bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub version: FileVersion,
    /// A multiple of 64, above 0.
    pub offset: u64,
    pub(crate) state: State,
}

impl Checkpoint {
    /// Where to go on in a file of this version: 0 where it is another.
    pub(crate) fn offset_in(resume: Option<&Self>, version: &FileVersion) -> u64 {
        resume.filter(|resume| resume.version == *version).map_or(0, |resume| resume.offset)
    }
}

/// The first byte of the serialised form. Another layout gets another number, and a
/// worker starts over from a number that it does not know.
const LAYOUT: u8 = 1;
/// Layout, offset, size, state, mark, CRC-32: what is there beside the mark.
const FIXED: usize = 1 + 8 + 8 + 32 + 4;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

impl Checkpoint {
    /// One byte of layout, then offset, size and the eight words of state, all big-endian;
    /// the mark's UTF-8; the CRC-32 of all before it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + self.version.mark.len());
        bytes.push(LAYOUT);
        bytes.extend(self.offset.to_be_bytes());
        bytes.extend(self.version.size.to_be_bytes());
        bytes.extend(self.state.iter().flat_map(|word| word.to_be_bytes()));
        bytes.extend(self.version.mark.as_bytes());
        bytes.extend(CRC.checksum(&bytes).to_be_bytes());
        bytes
    }

    /// None where the bytes are not a whole checkpoint of a known layout.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk()?;
        if CRC.checksum(content) != u32::from_be_bytes(*crc) {
            return None;
        }
        let (&[LAYOUT], content) = content.split_first_chunk()? else { return None };
        let (offset, content) = content.split_first_chunk()?;
        let (size, content) = content.split_first_chunk()?;
        let (words, mark) = content.split_first_chunk::<32>()?;
        let mut state = State::default();
        for (word, bytes) in state.iter_mut().zip(words.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        let (offset, size) = (u64::from_be_bytes(*offset), u64::from_be_bytes(*size));
        let whole = offset > 0 && offset.is_multiple_of(64) && offset <= size;
        let mark = String::from_utf8(mark.to_vec()).ok()?;
        whole.then_some(Self { version: FileVersion { size, mark }, offset, state })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checkpoint() -> impl Strategy<Value = Checkpoint> {
        (1..1_u64 << 50, any::<u32>(), any::<State>(), ".{0,80}").prop_map(
            |(blocks, more, state, mark)| Checkpoint {
                version: FileVersion { size: blocks * 64 + u64::from(more), mark },
                offset: blocks * 64,
                state,
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(checkpoint in checkpoint()) {
            prop_assert_eq!(Checkpoint::from_bytes(&checkpoint.to_bytes()), Some(checkpoint));
        }

        #[test]
        fn a_damaged_one_is_none(
            checkpoint in checkpoint(),
            at in any::<prop::sample::Index>(),
            flip in 1..=255_u8,
        ) {
            let mut bytes = checkpoint.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(Checkpoint::from_bytes(&bytes), None);
            prop_assert_eq!(Checkpoint::from_bytes(&checkpoint.to_bytes()[..at]), None);
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            prop_assert_eq!(Checkpoint::from_bytes(&bytes), None);
        }
    }
}
