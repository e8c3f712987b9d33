//! Compiles the contract with producers and the snapshot's own schema, without `protoc`.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let sources = ["customer/lifecycle/v1/lifecycle_event.proto", "churnwatch/snapshot/v1/snapshot.proto"];
    let files = protox::compile(sources, ["proto"])?;
    println!("cargo:rerun-if-changed=proto");

    prost_build::Config::new()
        .btree_map(["."])
        .compile_well_known_types()
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds(files.clone())?;

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut json = pbjson_build::Builder::new();
    for file in files.file {
        json.register_file_descriptor(file);
    }
    json.btree_map(["."]).out_dir(out).build(&[".customer.lifecycle.v1"])?;
    Ok(())
}
