//! The snapshot store over S3, and `run` with it.

pub mod moto;
mod run;
mod s3;
