//! Compiles `proto/` and writes the file descriptor set that reflection, JSON and the HTTP mapping need.

use std::path::{Path, PathBuf};

use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

/// The option that says where a call is over HTTP: `google.api.http`, which every tool for gRPC over HTTP understands. No crate carries the
/// files that declare it, so the declaration is made here; `buf lint` reads the protos with the published files.
const HTTP: &str = r#"
    syntax = "proto3";
    package google.api;
    message Http {
      repeated HttpRule rules = 1;
      bool fully_decode_reserved_expansion = 2;
    }
    message HttpRule {
      string selector = 1;
      oneof pattern {
        string get = 2;
        string put = 3;
        string post = 4;
        string delete = 5;
        string patch = 6;
        CustomHttpPattern custom = 8;
      }
      string body = 7;
      string response_body = 12;
      repeated HttpRule additional_bindings = 11;
    }
    message CustomHttpPattern {
      string kind = 1;
      string path = 2;
    }
"#;
const ANNOTATIONS: &str = r#"
    syntax = "proto3";
    package google.api;
    import "google/api/http.proto";
    import "google/protobuf/descriptor.proto";
    extend google.protobuf.MethodOptions {
      HttpRule http = 72295728;
    }
"#;

struct Annotations;

impl FileResolver for Annotations {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "google/api/http.proto" => File::from_source(name, HTTP),
            "google/api/annotations.proto" => File::from_source(name, ANNOTATIONS),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

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
    let mut known = ChainFileResolver::new();
    known.add(IncludeFileResolver::new("proto".into()));
    known.add(Annotations);
    known.add(GoogleFileResolver::new());
    let descriptors = protox::Compiler::with_file_resolver(known)
        .include_source_info(true)
        .include_imports(true)
        .open_files(files)?
        .encode_file_descriptor_set();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), &descriptors)?;
    let mut set: prost_types::FileDescriptorSet = prost::Message::decode(descriptors.as_slice())?;
    // Read from the descriptors alone; no code is needed for it.
    set.file.retain(|file| file.package() != "google.api");
    let mut config = prost_build::Config::new();
    config.enable_type_names();
    // Ordered maps, so that the same event always has the same bytes.
    config.btree_map(["."]);
    config.bytes([".doppio.event", ".doppio.readmodel"]);
    // The largest by far, and the rarest: inside it would make every event three times as large.
    config.boxed(".doppio.event.v1.Event.event.business_day_closed");
    config.include_file("contract.rs");
    tonic_prost_build::configure().compile_fds_with_config(set, config)?;
    Ok(())
}
