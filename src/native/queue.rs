//! A partition's queue, split from the consumer's, from which messages are taken by the batch, which costs much less
//! than one by one.

use std::ffi::{CString, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

use super::Message;

/// So many messages are taken at a time.
pub const BATCH: usize = 256;

type Wake = Box<dyn Fn() + Send + Sync>;

/// The queue, and what was taken from it last.
///
/// Nobody may seek in the partition, pause it or let go of it while messages are taken; what a rebalance does to the
/// partitions that stay is another matter: librdkafka then hands over again what was being taken.
pub struct PartitionQueue<C: ConsumerContext + 'static> {
    queue: NonNull<native::rd_kafka_queue_t>,
    /// Room for [`BATCH`].
    taken: Vec<Message>,
    /// Of a box that is the queue's own. Boxed twice: librdkafka keeps a thin pointer, and calls from its threads.
    wake: NonNull<Wake>,
    /// Outlives the queue and the messages.
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used from any thread. The messages are of use to whoever borrows the queue, one
// thread at a time, since it is not `Sync`.
unsafe impl<C: ConsumerContext + 'static> Send for PartitionQueue<C> {}

impl<C: ConsumerContext + 'static> PartitionQueue<C> {
    /// Splits the partition's queue; `wake` is called by the client's threads when it is not empty any more. To be called
    /// before the partition is assigned: the client then never forwards its messages to the consumer's own queue, where
    /// they would overtake those in here.
    pub fn split(consumer: &Arc<BaseConsumer<C>>, topic: &str, partition: i32, wake: Wake) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client lives, and the name ends in a zero.
        let queue =
            unsafe { native::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        let queue = NonNull::new(queue)?;
        let wake = NonNull::from(Box::leak(Box::new(wake)));
        // SAFETY: the queue lives until it is dropped, and `wake` until the callback is disabled there.
        unsafe {
            native::rd_kafka_queue_forward(queue.as_ptr(), null_mut());
            native::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(wake_up), wake.as_ptr().cast());
        }
        Some(Self { queue, taken: Vec::with_capacity(BATCH), wake, consumer: consumer.clone() })
    }

    /// Takes what is there, at most [`BATCH`], without waiting for more. What was taken before is given back.
    pub fn take(&mut self) -> &[Message] {
        self.taken.clear();
        // SAFETY: the room is for `BATCH` pointers, a message is such a pointer and nothing else, and so many as the call
        // returns are written, none of them null, each to be destroyed once. It returns -1 where there is no queue.
        unsafe {
            let room = self.taken.as_mut_ptr().cast();
            let count = native::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, room, BATCH);
            self.taken.set_len(usize::try_from(count).unwrap_or(0));
        }
        &self.taken
    }

    /// Gives back what was taken last.
    pub fn give_back(&mut self) {
        self.taken.clear();
    }

    /// What [`Self::take`] took last.
    pub fn taken(&self) -> &[Message] {
        &self.taken
    }

    /// The client's context.
    pub fn context(&self) -> &Arc<C> {
        self.consumer.context()
    }
}

impl<C: ConsumerContext + 'static> Drop for PartitionQueue<C> {
    fn drop(&mut self) {
        self.taken.clear();
        // SAFETY: the client lives. To disable the callback takes the lock under which it is called: it is not running
        // any more when `wake`, which came from a box, is dropped. The queue was given out to be destroyed once; before it
        // is, the client does not close.
        unsafe {
            native::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, null_mut());
            drop(Box::from_raw(self.wake.as_ptr()));
            native::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

unsafe extern "C" fn wake_up(_: *mut native::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: it is what the callback was enabled with, which lives until it is disabled.
    let wake = unsafe { &*opaque.cast::<Wake>() };
    wake();
}
