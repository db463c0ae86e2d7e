//! Randomness as an argument.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::protocol::sasl::{Nonce, ScramHash};

/// 32 random bytes from which one connection makes its stream ids, nonces and resource, one after the other.
#[derive(Clone)]
pub struct Seed {
    key: Zeroizing<[u8; 32]>,
    drawn: u32,
    /// Texts to be given out first, in reverse.
    recorded: Vec<String>,
}

impl Seed {
    /// Takes the bytes; they must be used for one connection only.
    pub fn new(random: [u8; 32]) -> Self {
        Self {
            key: Zeroizing::new(random),
            drawn: 0,
            recorded: Vec::new(),
        }
    }

    /// Gives out these texts first, so that a recorded stream can be replayed with the ids it had.
    #[must_use]
    pub fn replaying(mut self, texts: &[&str]) -> Self {
        self.recorded = texts.iter().rev().map(|text| (*text).to_owned()).collect();
        self
    }

    /// 144 bits that were not given out before.
    pub(crate) fn draw(&mut self) -> Nonce {
        self.drawn = self.drawn.wrapping_add(1);
        let block = ScramHash::Sha256.hmac(&*self.key, &self.drawn.to_be_bytes());
        let mut drawn = [0; 18];
        for (to, from) in drawn.iter_mut().zip(block.iter()) {
            *to = *from;
        }
        drawn
    }

    /// 128 bits that were not given out before.
    pub(crate) fn draw_id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(self.draw()) {
            *to = from;
        }
        id
    }

    /// The same as 24 letters, digits, `-` and `_`.
    pub(crate) fn draw_text(&mut self) -> String {
        let recorded = self.recorded.pop();
        recorded.unwrap_or_else(|| URL_SAFE_NO_PAD.encode(self.draw()))
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}
