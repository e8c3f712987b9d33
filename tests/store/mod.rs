mod moto;
mod proxy;
mod run;
mod s3;
