//! Snapshots in an object store: S3 and what speaks its language, Google Cloud Storage, Azure Blob Storage.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientConfigKey, Error, GetOptions, ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, PutMode,
    PutOptions, PutPayload, RetryConfig,
};
use tokio::runtime::Runtime;
use url::Url;

use super::files::{Created, Files};

/// For what is small: a listing, a claim, a removal.
const LIMIT: Duration = Duration::from_secs(10);
/// What a snapshot's bytes may take on top: a link slower than this is not one to run over.
const SLOWEST_BYTES_PER_SECOND: u64 = 4 * 1024 * 1024;
/// How much is fetched at a time when restoring.
const READ_BYTES: usize = 1024 * 1024;

/// Tries again while a connection fails, and comes to an end within the limit, so that the error says what was wrong
/// rather than that it took too long.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 },
    max_retries: 4,
    retry_timeout: Duration::from_secs(6),
};
const CLIENT: [(ClientConfigKey, &str); 4] = [
    // Where the endpoint given is http://, that is meant.
    (ClientConfigKey::AllowHttp, "true"),
    (ClientConfigKey::ConnectTimeout, "3 s"),
    (ClientConfigKey::ReadTimeout, "10 s"),
    // Each call has its own.
    (ClientConfigKey::Timeout, "3600 s"),
];

/// A bucket or container, or a part of one.
#[derive(Debug)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
    runtime: OwnRuntime,
}

impl Objects {
    /// Connects to nothing yet. Credentials come from the environment; `options`, named as its variables are in lower
    /// case, go over it.
    pub fn open(url: &Url, options: &[(&str, &str)]) -> io::Result<Self> {
        let (scheme, prefix) = ObjectStoreScheme::parse(url).map_err(|error| error_of(error.into()))?;
        check_environment(std::env::vars_os())?;
        macro_rules! build {
            ($builder:ty, $key:ident) => {{
                let mut builder = <$builder>::from_env().with_url(url.as_str()).with_retry(RETRY);
                for (key, value) in CLIENT {
                    builder = builder.with_config($key::Client(key), value);
                }
                for (key, value) in options {
                    builder = builder.with_config(key.parse().map_err(error_of)?, *value);
                }
                Arc::new(builder.build().map_err(error_of)?)
            }};
        }
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::AmazonS3 => build!(AmazonS3Builder, AmazonS3ConfigKey),
            ObjectStoreScheme::GoogleCloudStorage => build!(GoogleCloudStorageBuilder, GoogleConfigKey),
            ObjectStoreScheme::MicrosoftAzure => build!(MicrosoftAzureBuilder, AzureConfigKey),
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither S3, Google Cloud Storage nor Azure")),
        };
        Self::over(store, prefix, url.as_str().trim_end_matches('/'))
    }

    pub fn over(store: Arc<dyn ObjectStore>, prefix: Path, url: &str) -> io::Result<Self> {
        Ok(Self { store, prefix, url: url.to_owned(), runtime: OwnRuntime::start()? })
    }

    fn folder(&self, folder: &str) -> Path {
        if folder.is_empty() { self.prefix.clone() } else { self.prefix.clone().join(folder) }
    }

    fn path(&self, folder: &str, name: &str) -> Path {
        self.folder(folder).join(name)
    }
}

impl Files for Objects {
    fn place(&self, folder: &str, name: &str) -> String {
        let parts = [&self.url, folder, name];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let (store, folder) = (self.store.clone(), self.folder(folder));
        let listed = self.runtime.wait(LIMIT, async move { store.list_with_delimiter(Some(&folder)).await })?;
        Ok(listed.objects.iter().filter_map(|object| Some(object.location.filename()?.to_owned())).collect())
    }

    fn create(&self, folder: &str, name: &str, parts: &[Bytes]) -> io::Result<Created> {
        let (store, path) = (self.store.clone(), self.path(folder, name));
        let payload: PutPayload = parts.iter().cloned().collect();
        let limit = LIMIT + Duration::from_secs(payload.content_length() as u64 / SLOWEST_BYTES_PER_SECOND);
        let put = async move {
            let only_if_absent = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            store.put_opts(&path, payload, only_if_absent).await
        };
        match self.runtime.wait(limit, put) {
            Ok(_) => Ok(Created::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::TakenAlready),
            Err(error) => Err(error),
        }
    }

    fn read(&self, folder: &str, name: &str) -> io::Result<(u64, Box<dyn Read>)> {
        let (store, path) = (self.store.clone(), self.path(folder, name));
        let got = self.runtime.wait(LIMIT, async move { store.get_opts(&path, GetOptions::default()).await })?;
        let size_bytes = got.meta.size;
        let body = Body {
            runtime: self.runtime.clone(),
            stream: Some(got.into_stream()),
            buffered: VecDeque::new(),
            missing_bytes: size_bytes,
        };
        Ok((size_bytes, Box::new(body)))
    }

    fn remove(&self, folder: &str, name: &str) -> io::Result<()> {
        let (store, path) = (self.store.clone(), self.path(folder, name));
        self.runtime.wait(LIMIT, async move { store.delete(&path).await })
    }
}

/// An object's bytes as they come.
struct Body {
    runtime: OwnRuntime,
    stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    buffered: VecDeque<Bytes>,
    missing_bytes: u64,
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(chunk) = self.buffered.front_mut().filter(|chunk| !chunk.is_empty()) {
                let len = out.len().min(chunk.len());
                chunk.copy_to_slice(&mut out[..len]);
                return Ok(len);
            }
            self.buffered.pop_front();
            if self.buffered.is_empty() && !self.fetch()? {
                return Ok(0);
            }
        }
    }
}

impl Body {
    /// Whether there was more.
    fn fetch(&mut self) -> io::Result<bool> {
        let Some(mut stream) = self.stream.take() else { return Ok(false) };
        let (stream, chunks) = self.runtime.wait(LIMIT, async move {
            let (mut chunks, mut bytes) = (VecDeque::new(), 0);
            while bytes < READ_BYTES {
                let Some(chunk) = stream.next().await.transpose()? else { return Ok((None, chunks)) };
                bytes += chunk.len();
                chunks.push_back(chunk);
            }
            Ok((Some(stream), chunks))
        })?;
        let fetched: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        self.missing_bytes = self.missing_bytes.saturating_sub(fetched);
        if stream.is_none() && self.missing_bytes > 0 {
            // Not the snapshot is torn, the connection is.
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection ended before the object did"));
        }
        self.stream = stream;
        self.buffered = chunks;
        Ok(!self.buffered.is_empty())
    }
}

/// A runtime of the store's own, so that its callers need none and may be in another.
#[derive(Clone, Debug)]
struct OwnRuntime(Arc<Owned>);

#[derive(Debug)]
struct Owned(Option<Runtime>);

impl Drop for Owned {
    fn drop(&mut self) {
        // Waiting for its end is not allowed within another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl OwnRuntime {
    fn start() -> io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("store").enable_all().build()?;
        Ok(Self(Arc::new(Owned(Some(runtime)))))
    }

    /// The result of what is asked of the store, or an error of kind `TimedOut`.
    fn wait<T: Send + 'static>(
        &self,
        limit: Duration,
        asked: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let gone = || io::Error::other("the store's thread is gone: please report this bug");
        let (answer, answered) = crossbeam_channel::bounded(1);
        self.0.0.as_ref().ok_or_else(gone)?.spawn(async move {
            let _ = answer.send(tokio::time::timeout(limit, asked).await);
        });
        match answered.recv().map_err(|_| gone())? {
            Ok(result) => result.map_err(error_of),
            Err(_) => {
                let message = format!("no answer within {} s", limit.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, message))
            }
        }
    }
}

/// Refuses a credential that ends in a line break, as those do that were read from a file or put into a Secret with one: no
/// request can be made with it.
fn check_environment(variables: impl Iterator<Item = (OsString, OsString)>) -> io::Result<()> {
    for (name, value) in variables {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        // Google's may be JSON.
        let is_ours = name.starts_with("AWS_") || name.starts_with("AZURE_");
        if is_ours && (value.trim() != value || value.contains(char::is_control)) {
            let message = format!("the variable {name} begins or ends with a space or a line break: take it away");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    }
    Ok(())
}

/// What a server refuses gets the kind that a directory would give; anything else may be over at the next attempt.
fn error_of(error: Error) -> io::Error {
    use io::ErrorKind as K;
    let kind = match &error {
        Error::NotFound { .. } => K::NotFound,
        Error::AlreadyExists { .. } => K::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => K::PermissionDenied,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => K::Unsupported,
        Error::InvalidPath { .. } | Error::UnknownConfigurationKey { .. } => K::InvalidInput,
        _ => K::ResourceBusy,
    };
    io::Error::new(kind, without_secrets(&error.to_string()))
}

/// The addresses in it without who asks and with what key: `AWS_ENDPOINT_URL` may hold a password, and what Azure calls
/// a shared access signature is in the query of every request.
fn without_secrets(text: &str) -> String {
    let redacted = |word: &str| {
        let Some((scheme, address)) = word.split_once("://") else { return word.to_owned() };
        let authority = address.find(['/', '?']).unwrap_or(address.len());
        let address = address[..authority].rfind('@').map_or(address, |at| &address[at + 1..]);
        match address.split_once('?') {
            Some((path, _)) => format!("{scheme}://{path}?<redacted>"),
            None => format!("{scheme}://{address}"),
        }
    };
    text.split(' ').map(redacted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_in_a_credential_is_named_without_it() {
        let check = |name: &str, value: &str| {
            let error = check_environment([(name.into(), value.into())].into_iter()).err();
            error.map(|error| error.to_string()).unwrap_or_default()
        };
        for (name, value) in [("AWS_SECRET_ACCESS_KEY", "secret\n"), ("AZURE_CLIENT_SECRET", " secret")] {
            let error = check(name, value);
            assert!(error.contains(name) && !error.contains("secret"), "{error}");
        }
        for (name, value) in [("AWS_ACCESS_KEY_ID", "id"), ("GOOGLE_SERVICE_ACCOUNT_KEY", "{\n}\n"), ("PS1", "$ ")] {
            assert_eq!(check(name, value), "");
        }
    }

    #[test]
    fn addresses_lose_their_secrets() {
        for (said, expected) in [
            ("PUT http://ann:secret@127.0.0.1:1/b/p in 5 ms - 503", "PUT http://127.0.0.1:1/b/p in 5 ms - 503"),
            ("http://ann:sec@ret@host", "http://host"),
            ("GET https://h/c?comp=list&sig=secret after 4 retries", "GET https://h/c?<redacted> after 4 retries"),
            ("https://h?sig=a@b/c, so", "https://h?<redacted> so"),
            ("s3://bucket/a@b: why? nobody@knows", "s3://bucket/a@b: why? nobody@knows"),
        ] {
            assert_eq!(without_secrets(said), expected);
        }
    }
}
