//! Names and passwords against bcrypt hashes: off the server's thread, one at a time, each only once, and of each
//! client one at a time, the least crowded networks first: who tries many keeps others waiting for one.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::network::client;
use super::turns::Turns;
use crate::settings::PasswordHash;

/// How many verdicts of each kind are remembered.
const REMEMBERED: usize = 128;

/// A name and a password, as a client gives them.
pub(super) struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// From the value of the header `Authorization`.
    pub fn from_header(value: &[u8]) -> Option<Self> {
        let (scheme, encoded) = str::from_utf8(value).ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Self { user: user.to_owned(), password: password.to_owned() })
    }
}

/// Who may come in. Nobody has to say who they are where it is empty.
pub(super) struct Passwords {
    users: BTreeMap<String, PasswordHash>,
    verdicts: Arc<Verdicts>,
}

impl Passwords {
    pub fn new(users: BTreeMap<String, PasswordHash>, verdicts: Arc<Verdicts>) -> Self {
        Self { users, verdicts }
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether they are a user's. A name that nobody has costs as much as a wrong password.
    pub async fn judge(&self, given: Credentials, peer: IpAddr) -> Judgement {
        let known = self.users.get(&given.user);
        let Some(hash) = known.or_else(|| self.decoy(&given.user)) else { return Judgement::Wrong };
        let question = self.verdicts.question(&given, hash);
        if let Some(right) = self.verdicts.answer(question) {
            return right.into();
        }
        let Some(place) = self.verdicts.place(peer, question) else { return Judgement::Busy };
        let Some(turn) = self.verdicts.turns.take(peer).await else { return Judgement::Wrong };
        if let Some(right) = self.verdicts.answer(question) {
            return right.into();
        }
        let (verdicts, hash, known) = (self.verdicts.clone(), hash.clone(), known.is_some());
        // It goes on, and is remembered, also where the request has ended meanwhile.
        let check = tokio::task::spawn_blocking(move || {
            let right = bcrypt::verify(&given.password, hash.as_str()).unwrap_or(false) && known;
            verdicts.remember(question, right);
            drop((place, turn));
            right
        });
        check.await.unwrap_or(false).into()
    }

    /// Some user's hash, always the same for the same name.
    fn decoy(&self, user: &str) -> Option<&PasswordHash> {
        let number = self.verdicts.keyed([user.as_bytes()]) % (self.users.len() as u128).max(1);
        self.users.values().nth(number as usize)
    }
}

/// What is said of a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Right,
    Wrong,
    /// Others from the same address are being checked.
    Busy,
}

impl From<bool> for Judgement {
    fn from(right: bool) -> Self {
        if right { Self::Right } else { Self::Wrong }
    }
}

/// What was found out, by a keyed hash of what was asked. It outlives a change of the web configuration: what a new
/// hash makes wrong is another question.
pub(super) struct Verdicts {
    key: [u8; 16],
    known: Mutex<Known>,
    /// To check something.
    pub turns: Turns,
    /// By [`client`]: what waits to be checked, or is being checked, and how many requests want to know it.
    asked: Mutex<BTreeMap<IpAddr, (u128, usize)>>,
}

/// A request's place among those that want something checked.
struct Place {
    client: IpAddr,
    verdicts: Arc<Verdicts>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut asked = self.verdicts.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = asked.entry(self.client) {
            entry.get_mut().1 -= 1;
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
    }
}

/// Apart from one another, so that no flood of wrong passwords makes a right one be forgotten.
#[derive(Default)]
struct Known {
    right: VecDeque<u128>,
    wrong: VecDeque<u128>,
}

impl fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verdicts")
    }
}

impl Verdicts {
    /// Nothing yet, under a key of its own.
    pub fn new() -> anyhow::Result<Self> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).context("the system gives no random bytes")?;
        Ok(Self { key, known: Mutex::default(), turns: Turns::default(), asked: Mutex::default() })
    }

    /// None where the same client already asks something else.
    fn place(self: &Arc<Self>, peer: IpAddr, question: u128) -> Option<Place> {
        let client = client(peer);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (theirs, requests) = asked.entry(client).or_insert((question, 0));
        if *theirs != question {
            return None;
        }
        *requests += 1;
        Some(Place { client, verdicts: self.clone() })
    }

    fn question(&self, given: &Credentials, hash: &PasswordHash) -> u128 {
        self.keyed([given.user.as_bytes(), hash.as_str().as_bytes(), given.password.as_bytes()])
    }

    fn keyed<const N: usize>(&self, parts: [&[u8]; N]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }

    fn answer(&self, question: u128) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = || known.wrong.contains(&question).then_some(false);
        known.right.contains(&question).then_some(true).or_else(wrong)
    }

    fn remember(&self, question: u128, right: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let list = if right { &mut known.right } else { &mut known.wrong };
        if list.len() == REMEMBERED {
            list.pop_front();
        }
        list.push_back(question);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use futures_util::FutureExt as _;
    use futures_util::stream::{FuturesUnordered, StreamExt as _};

    use super::*;
    use crate::settings::parse_web_config;

    const PEER: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    /// `alice` with the password `secret`, `bob` with the password `other`.
    fn passwords(verdicts: &Arc<Verdicts>) -> Passwords {
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
        let text = format!("basic_auth_users:\n  alice: {}\n  bob: {}\n", hash("secret"), hash("other"));
        Passwords::new(parse_web_config("", &text, "".as_ref()).unwrap().users, verdicts.clone())
    }

    fn accepts(passwords: &Passwords, user: &str, password: &str) -> bool {
        let given = Credentials { user: user.to_owned(), password: password.to_owned() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(passwords.judge(given, PEER)) == Judgement::Right
    }

    fn remembered(verdicts: &Verdicts) -> (usize, usize) {
        let known = verdicts.known.lock().unwrap();
        (known.right.len(), known.wrong.len())
    }

    #[test]
    fn the_right_password_of_the_right_user_is_accepted() {
        let passwords = passwords(&Arc::new(Verdicts::new().unwrap()));
        for _ in 0..2 {
            assert!(accepts(&passwords, "alice", "secret") && accepts(&passwords, "bob", "other"));
            for (user, password) in [("alice", "other"), ("alice", ""), ("", "secret"), ("Alice", "secret")] {
                assert!(!accepts(&passwords, user, password), "{user}:{password}");
            }
        }
    }

    #[test]
    fn every_question_is_answered_once_and_a_new_hash_is_another_one() {
        let verdicts = Arc::new(Verdicts::new().unwrap());
        let before = passwords(&verdicts);
        for _ in 0..3 {
            assert!(accepts(&before, "alice", "secret"));
            // Whose decoy's password happens to be right, too.
            assert!(!accepts(&before, "mallory", "secret") && !accepts(&before, "mallory", "other"));
        }
        assert_eq!(remembered(&verdicts), (1, 2));
        assert!(accepts(&passwords(&verdicts), "alice", "secret"));
        assert_eq!(remembered(&verdicts), (2, 2), "salted anew");
    }

    #[test]
    fn a_flood_of_wrong_passwords_makes_no_right_one_forgotten() {
        let verdicts = Arc::new(Verdicts::new().unwrap());
        let passwords = passwords(&verdicts);
        assert!(accepts(&passwords, "alice", "secret"));
        for n in 0..REMEMBERED + 10 {
            verdicts.remember(n as u128, false);
        }
        assert!(accepts(&passwords, "alice", "secret"));
        assert_eq!(remembered(&verdicts), (1, REMEMBERED));
    }

    #[test]
    fn an_address_that_tries_many_passwords_keeps_others_waiting_for_one() {
        let verdicts = Arc::new(Verdicts::new().unwrap());
        let passwords = passwords(&verdicts);
        let judge = |password: &str, peer: &str| {
            let given = Credentials { user: "alice".to_owned(), password: password.to_owned() };
            Box::pin(passwords.judge(given, peer.parse().unwrap()))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let busy = verdicts.turns.take(PEER).await;
            let mut first = judge("wrong 0", "2001:db8::1");
            assert_eq!((&mut first).now_or_never(), None, "it waits for its turn");
            for n in 1..100 {
                let peer = format!("2001:db8::{n:x}");
                assert_eq!(judge(&format!("wrong {n}"), &peer).now_or_never(), Some(Judgement::Busy));
                assert_eq!(judge("secret", &peer).now_or_never(), Some(Judgement::Busy));
            }
            let mut again = judge("wrong 0", "2001:db8::2");
            assert_eq!((&mut again).now_or_never(), None, "the same question is answered with the first");
            let mut others = judge("secret", "2001:db8:0:1::1");
            let mut fourth = judge("secret", "10.0.0.1");
            assert_eq!(((&mut others).now_or_never(), (&mut fourth).now_or_never()), (None, None));
            // Who goes away leaves no place behind, while others ask the same.
            drop(first);
            assert_eq!(judge("wrong 1", "2001:db8::1").now_or_never(), Some(Judgement::Busy));
            drop(busy);
            assert_eq!(
                futures_util::future::join3(again, others, fourth).await,
                (Judgement::Wrong, Judgement::Right, Judgement::Right)
            );
            assert_eq!(judge("wrong 1", "2001:db8::1").await, Judgement::Wrong, "the next one");
        });
        assert!(verdicts.asked.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_that_tries_many_passwords_keeps_others_waiting_for_one() {
        let verdicts = Arc::new(Verdicts::new().unwrap());
        let passwords = passwords(&verdicts);
        let judge = |password: String, peer: String| {
            let given = Credentials { user: "alice".to_owned(), password };
            passwords.judge(given, peer.parse().unwrap())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let busy = verdicts.turns.take(PEER).await;
            // All 64 bits of somebody's 48, and then somebody else.
            let mut waiting: FuturesUnordered<_> =
                (0..255).map(|n| judge(format!("wrong {n}"), format!("2001:db8:0:{n:x}::1"))).collect();
            assert_eq!(waiting.next().now_or_never(), None, "they wait");
            waiting.push(judge("secret".to_owned(), "2001:db8:1::1".to_owned()));
            assert_eq!(waiting.next().now_or_never(), None);
            drop(busy);
            assert_eq!(waiting.next().await, Some(Judgement::Right), "the last to come is the first");
            assert_eq!(
                waiting.map(|judged| usize::from(judged == Judgement::Wrong)).collect::<Vec<_>>().await,
                [1; 255]
            );
        });
    }

    #[test]
    fn headers_are_read_as_clients_write_them() {
        let read = |value: &str| Credentials::from_header(value.as_bytes()).map(|c| (c.user, c.password));
        let some = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read("Basic YWxpY2U6c2VjcmV0"), some("alice", "secret"));
        assert_eq!(read("bAsIc YTpiOmM="), some("a", "b:c"));
        assert_eq!(read("Basic Og=="), some("", ""));
        for wrong in ["", "Basic", "Basic !", "Bearer YTpi", "Basic YWJj", "Basic //4="] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }
}
