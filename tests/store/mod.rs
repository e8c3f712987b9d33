pub mod moto;
mod run;
mod s3;
