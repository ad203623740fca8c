//! Builds a digest of every Rust source into the binary, so that a stale one is noticed.
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") || path.file_name().is_some_and(|n| n == "Cargo.toml") {
            found.push(path);
        }
    }
}

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("Cargo.toml"), root.join("Cargo.lock")];
    collect(&root.join("src"), &mut found);
    for entry in fs::read_dir(root.join("crates")).into_iter().flatten().flatten() {
        collect(&entry.path().join("src"), &mut found);
        found.push(entry.path().join("Cargo.toml"));
    }
    let mut named: Vec<(String, PathBuf)> =
        found.into_iter().filter_map(|p| Some((p.strip_prefix(&root).ok()?.to_str()?.to_owned(), p))).collect();
    named.sort();
    let mut digest = Sha256::new();
    for (name, path) in named {
        let text = fs::read(&path).unwrap_or_default();
        digest.update(format!("{name}\0{}\0", text.len()));
        digest.update(&text);
    }
    let hex: String = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
    println!("cargo:rustc-env=GHOSTWIRE_DIGEST={hex}");
    println!("cargo:rustc-env=GHOSTWIRE_PROFILE={}", profile());
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=crates");
    println!("cargo:rerun-if-changed=Cargo.toml");
    println!("cargo:rerun-if-changed=Cargo.lock");
}

/// Cargo's PROFILE says "release" for every profile that inherits from it; the output folder has the true name.
fn profile() -> String {
    let out = PathBuf::from(env::var("OUT_DIR").unwrap_or_default());
    out.ancestors()
        .nth(3)
        .and_then(|p| p.file_name())
        .map_or_else(|| "unknown".into(), |n| n.to_string_lossy().into_owned())
}
