//! Compiles `proto/` and writes the file descriptor set that reflection and JSON need.

use std::path::{Path, PathBuf};

fn protos(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            protos(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            found.push(path);
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files = Vec::new();
    protos(Path::new("proto"), &mut files)?;
    files.sort();
    let descriptors = protox::Compiler::new(["proto"])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(files)?
        .encode_file_descriptor_set();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), &descriptors)?;
    let set = prost::Message::decode(descriptors.as_slice())?;
    let mut config = prost_build::Config::new();
    config.enable_type_names();
    // Ordered maps, so that the same event always has the same bytes.
    config.btree_map(["."]);
    config.bytes([".doppio.event"]);
    // The largest by far, and the rarest: inside it would make every event three times as large.
    config.boxed(".doppio.event.v1.Event.event.business_day_closed");
    config.include_file("contract.rs");
    tonic_prost_build::configure().compile_fds_with_config(set, config)?;
    Ok(())
}
