//! A list that grows without ever moving what it holds.

use std::ops::{Index, IndexMut};

/// So many chunks are of one size, and as many of twice that size follow: beyond the first size a fifth to a third of what is
/// there comes with each.
const OF_A_SIZE: usize = 4;

/// A list in chunks, the first ones of `FIRST` items, a power of two.
///
/// With chunks of one size their list would grow with the items, beyond the nearer caches, and each look-up would wait for
/// it. As it is, about half of the items lie in the last four.
pub(super) struct Chunks<T, const FIRST: usize> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T: Clone, const FIRST: usize> Chunks<T, FIRST> {
    pub fn new() -> Self {
        const { assert!(FIRST.is_power_of_two()) };
        Self { chunks: Vec::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn push(&mut self, item: T) {
        let (chunk, place) = locate::<FIRST>(self.len);
        if place == 0 {
            // A short list should not pay for a whole chunk.
            self.chunks.push(Vec::with_capacity(if chunk == 0 { 0 } else { size::<FIRST>(chunk) }));
        }
        self.chunks[chunk].push(item);
        self.len += 1;
    }

    /// Fills the chunk under way and whole ones after it, until there are so many items at least. Of an item that is all
    /// zeros the system gives the memory when it is touched.
    pub fn fill(&mut self, least: usize, item: &T) {
        while self.len < least {
            let (chunk, place) = locate::<FIRST>(self.len);
            let size = size::<FIRST>(chunk);
            if place == 0 {
                self.chunks.push(vec![item.clone(); size]);
            } else {
                self.chunks[chunk].resize(size, item.clone());
            }
            self.len += size - place;
        }
    }
}

impl<T, const FIRST: usize> Index<usize> for Chunks<T, FIRST> {
    type Output = T;

    #[inline(always)]
    fn index(&self, at: usize) -> &T {
        let (chunk, place) = locate::<FIRST>(at);
        &self.chunks[chunk][place]
    }
}

impl<T, const FIRST: usize> IndexMut<usize> for Chunks<T, FIRST> {
    #[inline(always)]
    fn index_mut(&mut self, at: usize) -> &mut T {
        let (chunk, place) = locate::<FIRST>(at);
        &mut self.chunks[chunk][place]
    }
}

/// An item's chunk, and its place in there.
#[inline(always)]
fn locate<const FIRST: usize>(at: usize) -> (usize, usize) {
    let before = OF_A_SIZE * FIRST;
    // As if the smaller sizes, which are left out, had come before: then a size ends with each power of two.
    let at = at + before;
    let doubled = at.ilog2() - before.ilog2();
    let size = FIRST.ilog2() + doubled;
    (doubled as usize * OF_A_SIZE + (at >> size) - OF_A_SIZE, at & ((1 << size) - 1))
}

fn size<const FIRST: usize>(chunk: usize) -> usize {
    FIRST << (chunk / OF_A_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_fill_chunk_after_chunk() {
        let mut next = (0, 0);
        for at in 0..1_000_000 {
            let (chunk, place) = locate::<1024>(at);
            if (chunk, place) != next {
                assert_eq!((next.1, chunk, place), (size::<1024>(next.0), next.0 + 1, 0), "{at}");
            }
            next = (chunk, place + 1);
        }
        assert!(next.0 > 5 * OF_A_SIZE, "several sizes: {next:?}");
        assert!(locate::<1024>(u32::MAX as usize).0 < 100, "the list stays short");
    }

    #[test]
    fn items_stay_where_they_are() {
        for pushed in [0, 1, 3, 4, 5, 16, 100] {
            let mut chunks = Chunks::<usize, 4>::new();
            (0..pushed).for_each(|item| chunks.push(item));
            assert_eq!(chunks.len(), pushed);
            for least in [0, 1, 90, 1000] {
                chunks.fill(least, &usize::MAX);
                assert!((pushed.max(least)..=(pushed.max(least) * 5).div_ceil(4) + 4).contains(&chunks.len()));
                for at in 0..chunks.len() {
                    assert_eq!(chunks[at], if at < pushed { at } else { usize::MAX });
                }
            }
        }
    }
}
