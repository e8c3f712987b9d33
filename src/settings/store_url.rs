//! `snapshot.store`: the URL of a directory, or of a bucket or a part of one.

use std::path::PathBuf;

use object_store::ObjectStoreScheme;
use url::Url;

use super::StoreUrl;
use super::layers::Node;
use super::problem::without_userinfo;
use super::read::Reader;

const REMEDY: &str = "write a URL such as \"file:///var/lib/churnwatch\", \"s3://bucket/prefix\", \"gs://bucket/prefix\" or \
                      \"az://container/prefix\"";

/// What the key says, or what is wrong with it.
pub(super) fn read(r: &mut Reader, name: &str, node: &Node) -> Option<StoreUrl> {
    let text = r.text(name, node)?;
    let shown = without_userinfo(&text);
    let Some((scheme, rest)) = text.split_once("://") else {
        return r.wrong(&node.origin, format!("`{name}`: {shown:?} is not a URL"), REMEDY);
    };
    if scheme == "file" {
        return directory(r, name, node, rest);
    }
    let Ok(url) = Url::parse(&text) else {
        return r.wrong(&node.origin, format!("`{name}`: {shown:?} is not a URL"), REMEDY);
    };
    // Azure writes container@account.
    let container = matches!(scheme, "abfs" | "abfss" | "az" | "azure" | "adl");
    if url.password().is_some() || (!url.username().is_empty() && !container) || url.query().is_some() {
        return r.wrong(
            &node.origin,
            format!("`{name}`: credentials and options do not belong in the URL"),
            "take away what stands before @ or behind ?, and set the environment variables that the store's own tools \
             read: AWS_*, GOOGLE_* or AZURE_*",
        );
    }
    match ObjectStoreScheme::parse(&url) {
        Ok((
            ObjectStoreScheme::AmazonS3 | ObjectStoreScheme::GoogleCloudStorage | ObjectStoreScheme::MicrosoftAzure,
            _,
        )) if url.fragment().is_none() => Some(StoreUrl::Objects(url)),
        Err(_) if url.host_str().is_none_or(str::is_empty) => {
            r.wrong(&node.origin, format!("`{name}`: {shown:?} names no bucket"), REMEDY)
        }
        _ => r.wrong(&node.origin, format!("`{name}`: {shown:?} is no store that churnwatch knows"), REMEDY),
    }
}

fn directory(r: &mut Reader, name: &str, node: &Node, rest: &str) -> Option<StoreUrl> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return r.wrong(&node.origin, format!("`{name}`: \"file://{rest}\" does not name an absolute path"), REMEDY);
    }
    match percent_decoded(path) {
        Some(path) => Some(StoreUrl::Directory(PathBuf::from(path))),
        None => {
            r.wrong(&node.origin, format!("`{name}`: \"file://{rest}\" has a stray %"), "write %25 for a percent sign")
        }
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            (digit()? * 16 + digit()?) as u8
        } else {
            byte
        });
    }
    String::from_utf8(out).ok()
}
