//! Names and passwords against bcrypt hashes: off the server's thread, one at a time, and each only once.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use tokio::sync::Semaphore;

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
    pub async fn accept(&self, given: Credentials) -> bool {
        let known = self.users.get(&given.user);
        let Some(hash) = known.or_else(|| self.decoy(&given.user)) else { return false };
        let question = self.verdicts.question(&given, hash);
        if let Some(verdict) = self.verdicts.answer(question) {
            return verdict;
        }
        let Ok(permit) = self.verdicts.turn.clone().acquire_owned().await else { return false };
        if let Some(verdict) = self.verdicts.answer(question) {
            return verdict;
        }
        let (verdicts, hash, known) = (self.verdicts.clone(), hash.clone(), known.is_some());
        // It goes on, and is remembered, also where the request has ended meanwhile.
        let check = tokio::task::spawn_blocking(move || {
            let right = bcrypt::verify(&given.password, hash.as_str()).unwrap_or(false) && known;
            verdicts.remember(question, right);
            drop(permit);
            right
        });
        check.await.unwrap_or(false)
    }

    /// Some user's hash, always the same for the same name.
    fn decoy(&self, user: &str) -> Option<&PasswordHash> {
        let number = self.verdicts.keyed([user.as_bytes()]) % (self.users.len() as u128).max(1);
        self.users.values().nth(number as usize)
    }
}

/// What was found out, by a keyed hash of what was asked. It outlives a change of the web configuration: what a new
/// hash makes wrong is another question.
pub(super) struct Verdicts {
    key: [u8; 16],
    known: Mutex<Known>,
    turn: Arc<Semaphore>,
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
        Ok(Self { key, known: Mutex::default(), turn: Arc::new(Semaphore::new(1)) })
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
    use super::*;
    use crate::settings::parse_web_config;

    /// `alice` with the password `secret`, `bob` with the password `other`.
    fn passwords(verdicts: &Arc<Verdicts>) -> Passwords {
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
        let text = format!("basic_auth_users:\n  alice: {}\n  bob: {}\n", hash("secret"), hash("other"));
        Passwords::new(parse_web_config("", &text, "".as_ref()).unwrap().users, verdicts.clone())
    }

    fn accepts(passwords: &Passwords, user: &str, password: &str) -> bool {
        let given = Credentials { user: user.to_owned(), password: password.to_owned() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(passwords.accept(given))
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
