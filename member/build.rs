//! `sqlx::migrate!` reads the migrations when the crate is built; cargo has to know when one is added.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
