//! A message that was taken from a partition's queue.

use std::ffi::{CStr, c_void};
use std::ptr::{NonNull, null, null_mut};

use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedHeaders, OwnedHeaders};
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR as OK;

/// A record, or an error that stands between the records. It is the client's memory, given back when dropped.
///
/// It is neither `Send` nor `Sync`: to look at the headers has librdkafka parse them, without a lock. Only queues own
/// messages, and are gone before their client.
#[repr(transparent)]
pub struct Message(NonNull<native::rd_kafka_message_t>);

impl Message {
    fn fields(&self) -> &native::rd_kafka_message_t {
        // SAFETY: librdkafka gave it out as a message, which stays where it is until it is destroyed: in `drop`.
        // Nothing writes to its fields meanwhile: what the headers are parsed into is beside them.
        unsafe { self.0.as_ref() }
    }

    /// Why it is no record: the code, and what librdkafka says about it.
    pub fn error(&self) -> Option<(RDKafkaErrorCode, String)> {
        let code = self.fields().err;
        self.is_error().then(|| (code.into(), String::from_utf8_lossy(self.payload().unwrap_or_default()).into_owned()))
    }

    /// Whether it is no record.
    pub fn is_error(&self) -> bool {
        self.fields().err != OK
    }

    /// Its offset in the partition.
    pub fn offset(&self) -> i64 {
        self.fields().offset
    }

    /// `None` is another thing than an empty key.
    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka has the key point to so many bytes, or to null.
        unsafe { bytes(self.fields().key, self.fields().key_len) }
    }

    /// `None`: a tombstone.
    pub fn payload(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka has the payload point to so many bytes, or to null.
        unsafe { bytes(self.fields().payload, self.fields().len) }
    }

    /// The Kafka timestamp, in milliseconds.
    pub fn time_ms(&self) -> Option<i64> {
        use native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE as NONE;
        let mut kind = NONE;
        // SAFETY: the message lives, and what is written to is a variable of this function.
        let time_ms = unsafe { native::rd_kafka_message_timestamp(self.0.as_ptr(), &mut kind) };
        (kind != NONE && time_ms != -1).then_some(time_ms)
    }

    /// A copy of the headers.
    pub fn headers(&self) -> Option<OwnedHeaders> {
        let headers = self.native_headers()?;
        // SAFETY: rdkafka's borrowed headers are a type without content, and a reference to them is the pointer to what
        // librdkafka keeps. That lives as long as `self`.
        Some(unsafe { &*headers.as_ptr().cast::<BorrowedHeaders>() }.detach())
    }

    /// The name of each header, which need not be UTF-8, and how long its value is.
    pub fn each_header(&self, mut each: impl FnMut(&CStr, usize)) {
        let Some(headers) = self.native_headers() else { return };
        let (mut name, mut value, mut value_bytes) = (null(), null(), 0);
        for at in 0.. {
            // SAFETY: the headers live as long as `self`; what is written to are variables of this function.
            let found = unsafe {
                native::rd_kafka_header_get_all(headers.as_ptr(), at, &mut name, &mut value, &mut value_bytes)
            };
            if found != OK {
                return;
            }
            // SAFETY: a header that is found has a name, which ends in a zero and lives as long as the headers.
            each(unsafe { CStr::from_ptr(name) }, value_bytes);
        }
    }

    fn native_headers(&self) -> Option<NonNull<native::rd_kafka_headers_t>> {
        // What stands in for an error's record was never one.
        if self.is_error() {
            return None;
        }
        let mut headers = null_mut();
        // SAFETY: the message lives, and owns what it parses the headers into. No other thread has it.
        let found = unsafe { native::rd_kafka_message_headers(self.0.as_ptr(), &mut headers) };
        NonNull::new(headers).filter(|_| found == OK)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it was given out to be destroyed once, and nothing borrows from it any more.
        unsafe { native::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// # Safety
/// `start` is null, or so many bytes from there on live and stay unchanged for as long as the slice is used.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller says.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}
