//! Two owners of one partition whose calls cross, fail, and come through late, in any order.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use proptest::prelude::*;

use super::*;

/// What becomes of one request to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It never arrives.
    Lost,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// A put that seems lost, and is done when [`Action::Land`] comes.
    Late,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Claim,
    Restore,
    /// After so many more records.
    Save(i64),
    Land,
}

/// One request: what the other owner does just before it, and what becomes of it.
#[derive(Clone, Debug)]
struct Step {
    meanwhile: Vec<Action>,
    fault: Fault,
}

#[derive(Clone, Debug)]
struct Turn {
    owner: usize,
    action: Action,
    steps: Vec<Step>,
}

struct Owner {
    store: Store,
    epoch: Option<Epoch>,
    next_offset: Option<i64>,
}

struct World {
    objects: Arc<InMemory>,
    owners: [Mutex<Owner>; 2],
    wires: [Arc<Wire>; 2],
    /// The furthest offset that any save has promised, and may have been committed.
    promised: Mutex<i64>,
    claimed: Mutex<Epoch>,
}

impl World {
    fn new(keep: usize) -> Arc<Self> {
        let objects = Arc::new(InMemory::new());
        let wires = [0, 1].map(|owner| {
            Arc::new(Wire {
                objects: objects.clone(),
                owner,
                world: OnceLock::new(),
                steps: Mutex::default(),
                late: Mutex::default(),
            })
        });
        let owners = wires.clone().map(|wire| {
            let store = Store::over(Arc::new(Objects::over(wire, Path::default(), "memory:").unwrap()), keep);
            store.checked.store(true, Ordering::Release);
            Mutex::new(Owner { store, epoch: None, next_offset: None })
        });
        let world = Self { objects, owners, wires, promised: Mutex::new(0), claimed: Mutex::new(Epoch(0)) };
        let world = Arc::new(world);
        world.wires.iter().for_each(|wire| wire.world.set(Arc::downgrade(&world)).unwrap());
        world
    }

    fn turn(&self, turn: &Turn) {
        *self.wires[turn.owner].steps.lock().unwrap() = turn.steps.iter().cloned().collect();
        self.act(turn.owner, turn.action);
        self.wires[turn.owner].steps.lock().unwrap().clear();
    }

    fn act(&self, index: usize, action: Action) {
        let owner = &mut *self.owners[index].lock().unwrap();
        match action {
            Action::Claim => match owner.store.claim(&partition()) {
                Ok(epoch) => {
                    assert!(Some(epoch) > owner.epoch, "{epoch:?} after {:?}", owner.epoch);
                    let claimed = &mut *self.claimed.lock().unwrap();
                    assert_ne!(epoch, *claimed, "claimed twice");
                    *claimed = epoch.max(*claimed);
                    (owner.epoch, owner.next_offset) = (Some(epoch), None);
                }
                Err(error) => assert!(error.is_transient(), "{error}"),
            },
            Action::Restore => {
                if owner.epoch.is_none() {
                    return;
                }
                let promised = *self.promised.lock().unwrap();
                match owner.store.restore(&partition(), read) {
                    Ok(restored) => {
                        let next_offset = restored.newest.map_or(0, |newest| newest.value);
                        assert!(next_offset >= promised, "{next_offset} restored, {promised} was promised");
                        owner.next_offset = Some(next_offset);
                    }
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            }
            Action::Save(records) => {
                let (Some(epoch), Some(next_offset)) = (owner.epoch, &mut owner.next_offset) else { return };
                *next_offset += records;
                let claimed = *self.claimed.lock().unwrap();
                match owner.store.save(&partition(), epoch, *next_offset, vec![next_offset.to_string().into()]) {
                    Ok(()) => {
                        assert!(epoch >= claimed, "saved under {epoch:?}, and {claimed:?} was claimed before");
                        let promised = &mut *self.promised.lock().unwrap();
                        *promised = (*promised).max(*next_offset);
                    }
                    Err(SaveError::Fenced { by }) => assert!(by > epoch),
                    Err(SaveError::Unavailable(error)) => assert!(error.is_transient(), "{error}"),
                }
            }
            Action::Land => {
                let late = std::mem::take(&mut *self.wires[index].late.lock().unwrap());
                for (path, payload) in late {
                    // Create only if absent, as it was asked for: taken meanwhile, it is refused.
                    let put = self.objects.put_opts(&path, payload, PutMode::Create.into());
                    let _ = futures_util::FutureExt::now_or_never(put).unwrap();
                }
            }
        }
    }
}

/// One owner's way to the store.
struct Wire {
    objects: Arc<InMemory>,
    owner: usize,
    world: OnceLock<Weak<World>>,
    steps: Mutex<VecDeque<Step>>,
    late: Mutex<Vec<(Path, PutPayload)>>,
}

impl Wire {
    /// Lets the other owner act, and says what becomes of the next request.
    fn next(&self) -> Fault {
        let step = self.steps.lock().unwrap().pop_front();
        let Some(Step { meanwhile, fault }) = step else { return Fault::None };
        let world = self.world.get().and_then(Weak::upgrade).unwrap();
        meanwhile.into_iter().for_each(|action| world.act(1 - self.owner, action));
        fault
    }
}

fn lost() -> Error {
    Error::Generic { store: "wire", source: "lost".into() }
}

/// The answer, where it comes.
fn answer<T>(fault: Fault, result: Result<T>) -> Result<T> {
    if fault == Fault::AnswerLost { Err(lost()) } else { result }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wire {}", self.owner)
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for Wire {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        assert_eq!(options.mode, PutMode::Create, "nothing may be written over");
        match self.next() {
            Fault::Lost => Err(lost()),
            Fault::Late => {
                self.late.lock().unwrap().push((path.clone(), payload));
                Err(lost())
            }
            fault => answer(fault, self.objects.put_opts(path, payload, options).await),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(lost())
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        match self.next() {
            Fault::Lost | Fault::Late => Err(lost()),
            fault => answer(fault, self.objects.get_opts(path, options).await),
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.next() {
            Fault::Lost | Fault::Late => stream::once(async { Err(lost()) }).boxed(),
            fault => self.objects.delete_stream(paths).map(move |path| answer(fault, path)).boxed(),
        }
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { Err(lost()) }).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.next() {
            Fault::Lost | Fault::Late => Err(lost()),
            fault => answer(fault, self.objects.list_with_delimiter(prefix).await),
        }
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(lost())
    }
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Claim),
        3 => Just(Action::Restore),
        6 => (0_i64..3).prop_map(Action::Save),
        1 => Just(Action::Land),
    ]
}

fn turns() -> impl Strategy<Value = Turn> {
    let fault = prop_oneof![
        8 => Just(Fault::None),
        1 => Just(Fault::Lost),
        1 => Just(Fault::AnswerLost),
        1 => Just(Fault::Late),
    ];
    let takeover = |records| vec![Action::Claim, Action::Restore, Action::Save(records)];
    let meanwhile = prop_oneof![
        6 => Just(Vec::new()),
        2 => actions().prop_map(|action| vec![action]),
        1 => (0_i64..3).prop_map(takeover),
    ];
    let step = (meanwhile, fault).prop_map(|(meanwhile, fault)| Step { meanwhile, fault });
    (0..2_usize, actions(), prop::collection::vec(step, 0..6)).prop_map(|(owner, action, steps)| Turn {
        owner,
        action,
        steps,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_promised_is_never_lost(keep in 1..3_usize, turns in prop::collection::vec(turns(), 1..40)) {
        let world = World::new(keep);
        for turn in &turns {
            world.turn(turn);
        }
        // And whoever comes last, with nothing in the way, goes on from there.
        for action in [Action::Land, Action::Claim, Action::Restore, Action::Save(1), Action::Restore] {
            world.act(0, action);
        }
        let last = world.owners[0].lock().unwrap();
        prop_assert_eq!(last.next_offset, Some(*world.promised.lock().unwrap()));
    }
}
