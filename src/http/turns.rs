//! One at a time, and of those that wait first whoever has the fewest beside it from the same networks: who has many
//! addresses keeps others waiting no longer than who has one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::network::networks;

/// Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    is_taken: bool,
    next_number: u64,
    /// In the order in which they came.
    waiting: BTreeMap<u64, (IpAddr, oneshot::Sender<Turn>)>,
}

/// Passed on where it is dropped.
pub(super) struct Turn(Turns);

impl Turns {
    fn locked(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for it. `None` where nobody will give it any more.
    pub async fn take(&self, peer: IpAddr) -> Option<Turn> {
        let turn = {
            let mut queue = self.locked();
            if !queue.is_taken {
                queue.is_taken = true;
                return Some(Turn(self.clone()));
            }
            let (sender, turn) = oneshot::channel();
            let number = queue.next_number;
            queue.next_number += 1;
            queue.waiting.insert(number, (peer, sender));
            turn
        };
        turn.await.ok()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.0.locked();
        match queue.next() {
            None => queue.is_taken = false,
            Some(next) => {
                drop(queue);
                // Where the other side goes just now the turn is dropped here, and passed on once more.
                drop(next.send(Turn(self.0.clone())));
            }
        }
    }
}

impl Queue {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.waiting.retain(|_, (_, sender)| !sender.is_closed());
        let mut beside: [BTreeMap<IpAddr, usize>; 2] = Default::default();
        for (peer, _) in self.waiting.values() {
            for (counts, network) in beside.iter_mut().zip(networks(*peer)) {
                *counts.entry(network).or_default() += 1;
            }
        }
        let crowd = |peer: IpAddr| {
            let [wide, narrow] = networks(peer);
            (beside[0][&wide], beside[1][&narrow])
        };
        let first = self.waiting.iter().map(|(number, (peer, _))| (crowd(*peer), *number)).min();
        Some(self.waiting.remove(&first?.1)?.1)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt;

    use super::*;

    type Waiting = Pin<Box<dyn Future<Output = Option<Turn>>>>;

    fn ask(turns: &Turns, peer: &str) -> Waiting {
        let (turns, peer) = (turns.clone(), peer.parse().unwrap());
        let mut waiting: Waiting = Box::pin(async move { turns.take(peer).await });
        assert!((&mut waiting).now_or_never().is_none(), "it waits");
        waiting
    }

    #[test]
    fn the_fewest_of_a_network_come_first_and_else_who_came_first() {
        let turns = Turns::default();
        let mut turn = turns.take([10, 0, 0, 1].into()).now_or_never().unwrap();
        let peers = [
            // Somebody's /48, and somebody's /24; a /40 that somebody else has.
            "2001:db8:1::1",
            "2001:db8:1:1::1",
            "2001:db8:1:2::1",
            "10.1.1.1",
            "10.1.1.2",
            "10.1.2.1",
            "2001:db9:100::1",
            "2001:db9:101::1",
            "2001:db9:102::1",
            "2001:db9:103::1",
            "2001:dba::1",
            "10.2.0.1",
        ];
        let mut waiting: Vec<_> = peers.iter().map(|peer| Some(ask(&turns, peer))).collect();
        let mut order = Vec::new();
        while turn.is_some() {
            drop(turn);
            turn = None;
            for (peer, waiting) in peers.iter().zip(&mut waiting) {
                if let Some(taken) = waiting.as_mut().and_then(FutureExt::now_or_never) {
                    (turn, *waiting) = (taken, None);
                    order.push(*peer);
                }
            }
        }
        let (alone, of_24, of_48, of_40) = ([10, 11, 5], [3, 4], [0, 1, 2], [6, 7, 8, 9]);
        let expected = [alone.as_slice(), &of_24, &of_48, &of_40].concat();
        assert_eq!(order, expected.iter().map(|n| peers[*n]).collect::<Vec<_>>());
    }

    #[test]
    fn a_turn_is_not_lost_with_who_waited_for_it() {
        let turns = Turns::default();
        let first = turns.take([10, 0, 0, 1].into()).now_or_never().unwrap();
        let (gone, given, last) = (ask(&turns, "10.0.0.2"), ask(&turns, "10.0.0.3"), ask(&turns, "10.0.0.4"));
        drop(gone);
        drop(first);
        // It was given, and never looked at.
        drop(given);
        assert!(last.now_or_never().flatten().is_some());
        assert!(turns.take([10, 0, 0, 1].into()).now_or_never().flatten().is_some(), "free again");
    }
}
