//! Deterministic damage to valid bytes.

/// SplitMix64: one seed, one sequence.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end.max(1) as u64) as usize
    }
}

/// Lengths and counts that promise far more than follows.
const BOMBS: [&[u8]; 7] = [
    b"\xff\xff\xff\xff\x07",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x00\x00\x00\x00\x7f",
];

/// One to four changes to one of the valid ones.
pub fn mutate(dice: &mut Dice, valid: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = valid[dice.below(valid.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        let until = at + dice.below(bytes.len() - at);
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            2 if !bytes.is_empty() => bytes[at] = [0x00, 0x01, 0x7f, 0x80, 0xff][dice.below(5)],
            3 => {
                let other = &valid[dice.below(valid.len())];
                let from = dice.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            4 => drop(bytes.splice(at..at, BOMBS[dice.below(BOMBS.len())].iter().copied())),
            5 => {
                let end = bytes.len().min(at + BOMBS[0].len());
                drop(bytes.splice(at..end, BOMBS[dice.below(BOMBS.len())].iter().copied()));
            }
            6 => bytes.extend_from_within(at..until),
            _ => drop(bytes.drain(at..until)),
        }
    }
    bytes
}
