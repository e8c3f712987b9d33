//! A partition's queue, split from the consumer's, from which messages are taken by the batch, which costs much less
//! than one by one.

use std::ffi::{CString, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

use super::Message;

/// So many messages are taken at a time.
pub const BATCH: usize = 1024;

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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use rdkafka::consumer::DefaultConsumerContext;
    use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
    use rdkafka::{ClientConfig, Offset, TopicPartitionList};

    use super::*;
    use crate::embedded::Broker;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn messages_come_in_order_and_whole_and_a_client_closes_although_some_were_not_looked_at() {
        let broker = Broker::start().unwrap();
        broker.create_topic("t", 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.bootstrap_servers().unwrap()).set("group.id", "g");
        let producer: ThreadedProducer<_> = config.create().unwrap();
        let count = 3 * BATCH as i64 + 7;
        for number in 0..count {
            let (text, number) = (number.to_string(), number);
            // The keys: none, empty, some; the values: none for every fifth.
            let record = BaseRecord::<str, str>::to("t").partition(0).timestamp(1_000 + number);
            let record = if number % 3 > 0 { record.key(if number % 3 > 1 { &text } else { "" }) } else { record };
            let record = if number % 5 > 0 { record.payload(&text) } else { record };
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();

        let consumer: Arc<BaseConsumer<DefaultConsumerContext>> = Arc::new(config.create().unwrap());
        let (sender, wakes) = mpsc::channel();
        let wake = Box::new(move || sender.send(()).unwrap());
        let mut queue = PartitionQueue::split(&consumer, "t", 0, wake).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("t", 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let mut next = 0;
        while next < count {
            if queue.take().is_empty() {
                wakes.recv_timeout(PATIENCE).unwrap();
            }
            assert!(queue.taken().len() <= BATCH);
            for message in queue.taken() {
                let text = next.to_string();
                assert!(!message.is_error() && message.error().is_none());
                assert_eq!(message.offset(), next);
                let key = [None, Some(""), Some(text.as_str())][(next % 3) as usize];
                assert_eq!(message.key(), key.map(str::as_bytes));
                assert_eq!(message.payload(), (next % 5 > 0).then_some(text.as_bytes()));
                assert_eq!(message.time_ms(), Some(1_000 + next));
                assert!(message.headers().is_none());
                message.each_header(|name, _| panic!("{name:?}"));
                next += 1;
            }
        }
        assert!(!queue.taken().is_empty());
        // Would wait for ever for a queue or a message.
        drop((queue, consumer));
        assert!(wakes.recv().is_err(), "nothing can call it any more");
    }
}
