//! How a network cuts what is sent.

use proptest::prelude::*;

/// Into which pieces.
#[derive(Clone, Debug)]
pub enum Cut {
    /// Everything at once.
    Whole,
    /// Line by line, as it was recorded.
    Lines,
    /// Byte by byte.
    Bytes,
    /// Into pieces of these sizes, over and over.
    Sizes(Vec<usize>),
}

/// Those that every test makes; a property test adds [`any`].
pub const CUTS: [Cut; 3] = [Cut::Whole, Cut::Lines, Cut::Bytes];

/// Any cut at all.
pub fn any() -> impl Strategy<Value = Cut> {
    prop::collection::vec(1_usize..400, 1..40).prop_map(Cut::Sizes)
}

/// Few enough to be quick: each goes through every recording.
pub fn few_cases() -> ProptestConfig {
    ProptestConfig {
        cases: 48,
        ..ProptestConfig::default()
    }
}

impl Cut {
    /// The pieces in which these lines arrive.
    pub fn pieces(&self, lines: &[impl AsRef<str>]) -> Vec<Vec<u8>> {
        let text: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
        match self {
            Self::Whole => vec![text.concat().into_bytes()],
            Self::Lines => text.iter().map(|line| line.as_bytes().to_vec()).collect(),
            Self::Bytes => text.concat().bytes().map(|byte| vec![byte]).collect(),
            Self::Sizes(sizes) => in_sizes(text.concat().as_bytes(), sizes),
        }
    }
}

fn in_sizes(bytes: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces
}
